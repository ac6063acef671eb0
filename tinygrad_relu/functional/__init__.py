"""The functions that users call; each takes Tensors or arrays and returns a Tensor."""
from .activation import *  # noqa: F403        # all that it defines
from .array import *  # noqa: F403
from .class_loss import cross_entropy as cross_entropy, multi_margin_loss as multi_margin_loss, nll_loss as nll_loss
from .layers import batch_norm as batch_norm, dropout as dropout, embedding as embedding, layer_norm as layer_norm
from .layers import linear as linear, log_softmax as log_softmax, one_hot as one_hot, softmax as softmax
from .array import as_tensor as as_tensor
from .loss import REDUCTIONS as REDUCTIONS, binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from .loss import hinge_embedding_loss as hinge_embedding_loss, huber_loss as huber_loss, l1_loss as l1_loss, mse_loss as mse_loss
from .loss import smooth_l1_loss as smooth_l1_loss
from .members import per_member as per_member
