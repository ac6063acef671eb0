"""The native code of `pool`, in LLVM's language: how a group of slices is shared, and how helpers wait, wake and work.

`run` is called by kernels, through `parallel`: it opens a group, wakes helpers (`wake`), takes slices itself (`take`), closes the
group and waits (`linger`) until nobody is inside. `help` is the life of a helper: it looks for an open group, joins it, takes
slices, and between groups lingers and sleeps.

`state` holds three numbers: how many groups have been opened (times 2^32), whether the last one may still be joined (2^31), and
how many helpers are inside. A helper joins by adding 1, and has joined if the group was open at that moment; the caller closes
the group and waits until nobody is inside, before it overwrites what describes the group. A thread that falls asleep first says
so in `asleep`, then looks once more; who sets its entry back to 0 releases its lock. Entry 0 is the caller's.
"""
from __future__ import annotations

import platform

PAUSE = {"x86_64": "pause", "AMD64": "pause", "aarch64": "isb", "arm64": "isb"}.get(platform.machine(), "")   # of a waiting core

CODE = """
; The group. Of each part: how many of its slices have been taken. Whether some caller has a group open.
@state = global [8 x i64] zeroinitializer, align 64
@taken = global [1024 x [8 x i64]] zeroinitializer, align 64
@busy = global [8 x i64] zeroinitializer, align 64

; What describes it: a function of (context, error, begin, stop), that of the numbers from 0 to `count` are dealt out in `slices`
; of `grain`, to how many threads, and what the function has returned if it failed.
@function = global ptr null
@context = global ptr null
@count = global i64 0
@grain = global i64 0
@slices = global i64 0
@wanted = global i64 0
@code = global i32 0
@error = global ptr null

; The threads: how many may work, how many have been started, and the function that starts the others. Of each: whether it is
; asleep, the lock on which it sleeps, its number for the system (0: it may use all cores), and 1 + the core that it keeps off.
@tinygrad_relu_limit = external global i64
@started = global i64 0
@start = global ptr null
@asleep = global [1024 x i64] zeroinitializer, align 64
@locks = global [1024 x ptr] zeroinitializer
@threads = global [1024 x i32] zeroinitializer
@apart = global [1024 x i32] zeroinitializer

; How many pauses a thread makes before it sleeps. Linux's functions, if this is Linux.
@spins = global i64 0
@getcpu = global ptr null
@getaffinity = global ptr null
@setaffinity = global ptr null

declare i32 @tinygrad_relu_acquire(ptr, i32)
declare void @tinygrad_relu_release(ptr)
declare i64 @llvm.smin.i64(i64, i64)

define void @pauses(i64 %n) {
  br label %next
next:
  %i = phi i64 [0, %0], [%after, %next]
  call void asm sideeffect "PAUSE", ""()
  %after = add i64 %i, 1
  %more = icmp slt i64 %after, %n
  br i1 %more, label %next, label %end
end:
  ret void
}

; Keep a helper off the core on which this thread runs: let it use the other cores that this thread may use.
define internal void @part(i64 %who) {
  %cores = alloca [128 x i8], align 8
  %name = getelementptr i32, ptr @threads, i64 %who
  %thread = load i32, ptr %name
  %nobody = icmp eq i32 %thread, 0
  br i1 %nobody, label %end, label %ask
ask:
  %getcpu = load ptr, ptr @getcpu
  %core = call i32 %getcpu()
  %number = add i32 %core, 1
  %place = getelementptr i32, ptr @apart, i64 %who
  %known = load i32, ptr %place
  %same = icmp eq i32 %number, %known
  br i1 %same, label %end, label %read
read:
  store i32 %number, ptr %place
  %getaffinity = load ptr, ptr @getaffinity
  %failed = call i32 %getaffinity(i32 0, i64 128, ptr %cores)
  %wrong = icmp ne i32 %failed, 0
  br i1 %wrong, label %end, label %set
set:
  %index = lshr i32 %core, 3
  %byte = getelementptr i8, ptr %cores, i32 %index
  %eight = load i8, ptr %byte
  %low = and i32 %core, 7
  %shift = trunc i32 %low to i8
  %bit = shl i8 1, %shift
  %mask = xor i8 %bit, -1
  %rest = and i8 %eight, %mask
  store i8 %rest, ptr %byte
  %setaffinity = load ptr, ptr @setaffinity
  %ignored = call i32 %setaffinity(i32 %thread, i64 128, ptr %cores)
  br label %end
end:
  ret void
}

define void @wake(i64 %who) {
  %flag = getelementptr i64, ptr @asleep, i64 %who
  %sleeps = load atomic i64, ptr %flag seq_cst, align 8
  %try = icmp eq i64 %sleeps, 1
  br i1 %try, label %claim, label %end
claim:
  %pair = cmpxchg ptr %flag, i64 1, i64 0 seq_cst seq_cst
  %mine = extractvalue {i64, i1} %pair, 1
  br i1 %mine, label %release, label %end
release:
  call void @part(i64 %who)
  %place = getelementptr ptr, ptr @locks, i64 %who
  %lock = load ptr, ptr %place
  call void @tinygrad_relu_release(ptr %lock)
  br label %end
end:
  ret void
}

; Sleep until somebody wakes `who`, unless the state is no longer `known`.
define internal void @sleep(i64 %who, i64 %known) {
  %flag = getelementptr i64, ptr @asleep, i64 %who
  %old = atomicrmw xchg ptr %flag, i64 1 seq_cst
  %state = load atomic i64, ptr @state seq_cst, align 8
  %same = icmp eq i64 %state, %known
  br i1 %same, label %block, label %stay
stay:
  %pair = cmpxchg ptr %flag, i64 1, i64 0 seq_cst seq_cst
  %mine = extractvalue {i64, i1} %pair, 1
  br i1 %mine, label %end, label %block
block:
  %place = getelementptr ptr, ptr @locks, i64 %who
  %lock = load ptr, ptr %place
  %taken = call i32 @tinygrad_relu_acquire(ptr %lock, i32 1)
  br label %end
end:
  ret void
}

; One look more at a state that is still `known`: a pause, or sleep after many. Returns the number of pauses since the last sleep.
define internal i64 @linger(i64 %who, i64 %known, i64 %waited) {
  %spins = load i64, ptr @spins
  %awake = icmp slt i64 %waited, %spins
  br i1 %awake, label %wait, label %rest
wait:
  call void @pauses(i64 1)
  %more = add i64 %waited, 1
  ret i64 %more
rest:
  call void @sleep(i64 %who, i64 %known)
  ret i64 0
}

; Take slices of the open group until none is left, from the part of `me` on.
define internal void @take(i64 %me) {
  %excuse = alloca ptr
  %f = load ptr, ptr @function
  %context = load ptr, ptr @context
  %count = load i64, ptr @count
  %grain = load i64, ptr @grain
  %slices = load i64, ptr @slices
  %parts = load i64, ptr @wanted
  br label %part
part:
  %turn = phi i64 [0, %0], [%following, %another]
  %sum = add i64 %me, %turn
  %whose = urem i64 %sum, %parts
  %after = add i64 %whose, 1
  %low = mul i64 %slices, %whose
  %high = mul i64 %slices, %after
  %first = sdiv i64 %low, %parts
  %end = sdiv i64 %high, %parts
  %counter = getelementptr [8 x i64], ptr @taken, i64 %whose
  br label %next
next:
  %so_far = atomicrmw add ptr %counter, i64 1 seq_cst
  %slice = add i64 %first, %so_far
  %more = icmp slt i64 %slice, %end
  br i1 %more, label %work, label %another
work:
  %begin = mul i64 %slice, %grain
  %limit = add i64 %begin, %grain
  %stop = call i64 @llvm.smin.i64(i64 %limit, i64 %count)
  %code = call i32 %f(ptr %context, ptr %excuse, i64 %begin, i64 %stop)
  %good = icmp eq i32 %code, 0
  br i1 %good, label %next, label %fail
fail:
  %error = load ptr, ptr %excuse
  store ptr %error, ptr @error
  store i32 %code, ptr @code
  br label %next
another:
  %following = add i64 %turn, 1
  %others = icmp slt i64 %following, %parts
  br i1 %others, label %part, label %done
done:
  ret void
}

; What a helper does; it ends when the limit is 0.
define void @help(i64 %me) {
  br label %look
look:
  %seen = phi i64 [0, %0], [%seen, %patience], [%group, %skip], [%joined, %leave], [%joined, %last]
  %waited = phi i64 [0, %0], [%more, %patience], [%waited, %skip], [0, %leave], [0, %last]
  %state = load atomic i64, ptr @state seq_cst, align 8
  %group = lshr i64 %state, 32
  %new = icmp ne i64 %group, %seen
  br i1 %new, label %ask, label %idle
idle:
  %limit = load atomic i64, ptr @tinygrad_relu_limit seq_cst, align 8
  %over = icmp eq i64 %limit, 0
  br i1 %over, label %end, label %patience
patience:
  %more = call i64 @linger(i64 %me, i64 %state, i64 %waited)
  br label %look
ask:
  %wanted = load atomic i64, ptr @wanted seq_cst, align 8
  %enough = icmp sge i64 %me, %wanted
  br i1 %enough, label %skip, label %join
skip:
  br label %look
join:
  %before = atomicrmw add ptr @state, i64 1 seq_cst
  %joined = lshr i64 %before, 32
  %bit = and i64 %before, 2147483648
  %open = icmp ne i64 %bit, 0
  br i1 %open, label %work, label %leave
work:
  call void @take(i64 %me)
  br label %leave
leave:
  %then = atomicrmw sub ptr @state, i64 1 seq_cst
  %inside = and i64 %then, 2147483647
  %alone = icmp eq i64 %inside, 1
  br i1 %alone, label %last, label %look
last:
  call void @wake(i64 0)
  br label %look
end:
  ret void
}

define i32 @run(ptr %f, ptr %context, ptr %excuse, i64 %count, i64 %grain) {
  %limit = load atomic i64, ptr @tinygrad_relu_limit seq_cst, align 8
  %allowed = icmp sgt i64 %limit, 1
  %many = icmp sgt i64 %count, %grain
  %worth = and i1 %allowed, %many
  br i1 %worth, label %claim, label %alone
claim:
  %pair = cmpxchg ptr @busy, i64 0, i64 1 seq_cst seq_cst
  %mine = extractvalue {i64, i1} %pair, 1
  br i1 %mine, label %staff, label %alone
alone:
  %result = call i32 %f(ptr %context, ptr %excuse, i64 0, i64 %count)
  ret i32 %result
staff:
  %started = load i64, ptr @started
  %few = icmp slt i64 %started, %limit
  br i1 %few, label %hire, label %open
hire:
  %start = load ptr, ptr @start
  call void %start()
  br label %open
open:
  %rounded = add i64 %count, %grain
  %less = sub i64 %rounded, 1
  %slices = sdiv i64 %less, %grain
  %wanted = call i64 @llvm.smin.i64(i64 %slices, i64 %limit)
  store ptr %f, ptr @function
  store ptr %context, ptr @context
  store i64 %count, ptr @count
  store i64 %grain, ptr @grain
  store i64 %slices, ptr @slices
  store i32 0, ptr @code
  store atomic i64 %wanted, ptr @wanted seq_cst, align 8
  br label %clear
clear:
  %part = phi i64 [0, %open], [%another, %clear]
  %counter = getelementptr [8 x i64], ptr @taken, i64 %part
  store i64 0, ptr %counter
  %another = add i64 %part, 1
  %parts = icmp slt i64 %another, %wanted
  br i1 %parts, label %clear, label %publish
publish:
  %opened = atomicrmw add ptr @state, i64 6442450944 seq_cst
  br label %call
call:
  %who = phi i64 [1, %publish], [%next, %call]
  call void @wake(i64 %who)
  %next = add i64 %who, 1
  %others = icmp slt i64 %next, %wanted
  br i1 %others, label %call, label %work
work:
  call void @take(i64 0)
  %closed = atomicrmw sub ptr @state, i64 2147483648 seq_cst
  br label %look
look:
  %waited = phi i64 [0, %work], [%more, %patience]
  %state = load atomic i64, ptr @state seq_cst, align 8
  %inside = and i64 %state, 2147483647
  %empty = icmp eq i64 %inside, 0
  br i1 %empty, label %end, label %patience
patience:
  %more = call i64 @linger(i64 0, i64 %state, i64 %waited)
  br label %look
end:
  %error = load ptr, ptr @error
  store ptr %error, ptr %excuse
  %code = load i32, ptr @code
  store atomic i64 0, ptr @busy seq_cst, align 8
  ret i32 %code
}
""".replace("PAUSE", PAUSE)
