"""Python environments of third-party engines and tools whose pins exclude those of training.

Nothing is installed unless it is asked for: `swift engines install NAME`.
"""

from swift.infer.environments.create import install
from swift.infer.environments.place import python_of, variables

__all__ = ["install", "python_of", "variables"]
