"""The packages of the extra "film", imported when they are first used."""

from types import ModuleType

from colourgan.errors import UsageError


def pyav() -> ModuleType:
    """PyAV, which reads and writes films; UsageError if it is not installed."""
    try:
        import av
    except ImportError:
        raise UsageError("a film needs av: pip install 'colourgan[film]'") from None
    return av


def opencv() -> ModuleType:
    """OpenCV, which finds motion; UsageError if it is not installed."""
    try:
        import cv2
    except ImportError:
        needs = "a film needs opencv-python-headless"
        raise UsageError(f"{needs}: pip install 'colourgan[film]'") from None
    return cv2
