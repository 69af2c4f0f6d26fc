"""What can go wrong, said so that a radiologist understands it and knows what to do next."""


class UpganError(Exception):
    """A refusal or failure with a machine-readable code, one sentence and a remedy.

    Args:
        code: Stable identifier in snake_case, e.g. ``out_of_memory``.
        sentence: What happened, in one sentence without patient data.
        remedy: What the user can do about it.

    Example:
        >>> from upgan import UpganError, read_volume
        >>> try:
        ...     read_volume("absent.nii.gz")
        ... except UpganError as error:
        ...     print(error.code, error.sentence, error.remedy, sep="; ")
        file_not_found; There is no file or folder 'absent.nii.gz'.; Check the path.
    """

    def __init__(self, code: str, sentence: str, remedy: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.sentence} {self.remedy} [{self.code}]"


class InputError(UpganError):
    """The image, folder or table given by the user cannot be used as it is."""


class BundleError(UpganError):
    """The model is damaged, incomplete, unknown or unsafe."""


class DeviceError(UpganError):
    """The processor asked for is absent or has too little memory."""


class ResultError(UpganError):
    """What a model made of an image is no result."""


class OutputError(UpganError):
    """The results cannot be written where they were asked for."""


class Cancelled(UpganError):  # noqa: N818  (nothing went wrong)
    """The user stopped the work, whichever it was; nothing is wrong, and only a training leaves what it has reached."""

    def __init__(self) -> None:
        super().__init__("cancelled", "The work was cancelled.", "Start it again when you like.")


class TrainingError(UpganError):
    """The training cannot go on; what it reached is kept."""
