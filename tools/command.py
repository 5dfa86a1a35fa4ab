"""How every program here ends: 0 when done, 2 with one line when the input is at fault."""

import sys
from collections.abc import Callable


def run(main: Callable[[], int | None]) -> None:
    """Calls `main` and exits; ValueError and OSError become one line on standard error."""
    try:
        code = main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, such as `head`, went away
        sys.stderr.close()
        sys.exit(1)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(code or 0)
