"""What can go wrong, as types.  Every message names what was expected, what came, and the mend."""


class LisaError(Exception):
    """Base of all errors that lisa_ros raises on purpose; safe to show to a user as it is."""


class CheckpointError(LisaError):
    """A model folder, hub id or weight file cannot be used."""


class DeviceError(LisaError):
    """The requested device or precision is not available on this machine."""


class OutOfMemoryError(LisaError):
    """The model, or one answer of it, does not fit into the device's memory."""


class InstructionError(LisaError):
    """The words cannot be asked: empty, only control tokens, or longer than the context."""


class TooLongError(InstructionError):
    """With the rounds before it an instruction leaves no room for an answer."""


class ImageError(LisaError):
    """The picture cannot be read, or is not an RGB uint8 array of shape (H, W, 3)."""


class UsageError(LisaError, ValueError):
    """A call came out of order or with values that make no sense; the message says what to call."""
