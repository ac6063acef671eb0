"""How units die, and how often."""
