"""`python -m app` is the `stepwell` command."""

import gc

# What is imported lives as long as the process. Looking for garbage in it, while it is loaded and
# once more at the end, is a third of what a short command costs.
gc.disable()

from app.cli import main  # noqa: E402 (as said)

gc.freeze()
gc.enable()
main()
