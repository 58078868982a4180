"""What the words of ``flag_meanings`` say of pixels: dry, not observed, or observed."""

import re

from nowcast.readers.cf.source import Variable
from nowcast.runtime.errors import UserError

DRY, MISSING, OBSERVED = "dry", "missing", "observed"
_RAIN = "(rain|rainfall|precip|precipitation|echo|echoes|signals?|returns?|detections?|targets?)"
_DRY = re.compile(
    rf"(no|zero|without)_?{_RAIN}(_(detected|found|measured))?"
    rf"|(nothing|none|not|no{_RAIN})_?detected|dry|undetect(ed|able)?|non_?detect(ion|ed)?"
    r"|below_?((radar|minimum|min|the)_)*(detection|detectable|threshold|noise|sensitivity|minimum)"
    r"(_(limit|level|threshold|floor|signal|value))*"
    r"|clear(_?(air|sky|weather))?"
)
_MISSING = re.compile(
    r"missing|no_?(data|value|obs|observation|measurement|coverage|radar)(_|$)|null|undefined|unset"
    r"|(not|un|never)_?(observed|measured|available|covered|scanned|processed|sampled|known|seen)"
    r"|out(side)?_?(of)?_?(range|area|domain|image|coverage|composite|bounds|scan)|outside"
    r"|out_of_|block|shadow|occult|clutter|invalid|(^|_)bad(_|$)|fill(_?value)?$|mask|error"
    r"|fault|interference|beyond|corrupt|reject"
)
_DENIED = re.compile(
    "(no|not|non|without|un)_?(missing|block|clutter|mask|invalid|bad|error|interference)"
)
_OBSERVED = re.compile(
    r"good|valid|ok|okay|observed|measured|available|covered|(good|valid)_?(data|values?|quality)"
    r"|(rain|precipitation|precip|echo|snow|hail|sleet|graupel|drizzle|wet)|normal|accepted"
    r"|data|in_?range|no_?(missing|clutter|blockage|blocking|error)|not_?(missing|blocked|masked)"
)


def meaning(word: str) -> str | None:
    """DRY, MISSING or OBSERVED; None if the word is not known."""
    word = re.sub("[^a-z0-9]+", "_", word.lower()).strip("_")
    if _DRY.fullmatch(word):
        return DRY
    if _OBSERVED.fullmatch(word):
        return OBSERVED
    return MISSING if _MISSING.search(word) and not _DENIED.search(word) else None


def flags_of(variable: Variable, numbers: str = "flag_values") -> list[tuple[int | float, str]]:
    """(number, word) of a variable's flags, whose numbers are in that attribute.

    Raises:
        UserError: there are not as many words as numbers.
    """
    values = variable.numbers(numbers)
    words = variable.text("flag_meanings").split()
    if len(values) != len(words):
        raise UserError(
            f"{variable.path}: {variable.name} has {len(values)} {numbers}, but {len(words)} "
            "flag_meanings; the file contradicts itself."
        )
    return list(zip(values, words))
