"""What the main subgraph of a TFLite file does not tell: operators of every subgraph, and tensors with memory."""

from collections import Counter
from pathlib import Path
from typing import Any

from mai_harness.errors import ModelContractError
from mai_harness.records import Record
from mai_harness.tflite_graph.view import BROKEN, builtin_operators, open_model


class Contents(Record, frozen=True):
    """Of all subgraphs together."""

    operators: dict[str, int]  #: how many of each built-in operator there are
    custom: tuple[str, ...] = ()  #: names of the custom operators, once each
    variables: tuple[str, ...] = ()  #: names of tensors that keep their values from one run to the next


def contents(path: Path) -> Contents:
    """Look through every subgraph.

    Raises:
        ModelContractError: the file is missing, damaged or no TFLite file.
    """
    try:
        data = path.read_bytes()
        model = open_model(data, str(path))
        return _contents(model, data)
    except OSError as error:
        raise ModelContractError(f"{path} cannot be read: {error.strerror}") from None
    except BROKEN as error:
        raise ModelContractError(f"{path} is no TFLite file: its tables are damaged ({error})") from None


def _contents(model: Any, data: bytes) -> Contents:
    names = builtin_operators()
    codes = [model.OperatorCodes(i) for i in _range(model.OperatorCodesLength(), data)]
    # Codes up to 126 are in the old one-byte field too; files of old converters have only that.
    builtin = [names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())] for code in codes]
    operators: Counter[str] = Counter()
    custom: dict[str, None] = {}
    variables: list[str] = []
    for subgraph in (model.Subgraphs(i) for i in _range(model.SubgraphsLength(), data)):
        for place in (subgraph.Operators(i).OpcodeIndex() for i in _range(subgraph.OperatorsLength(), data)):
            if builtin[place] == "CUSTOM":
                custom[_text(codes[place].CustomCode())] = None
            else:
                operators[builtin[place]] += 1
        tensors = (subgraph.Tensors(i) for i in _range(subgraph.TensorsLength(), data))
        variables += [_text(tensor.Name()) for tensor in tensors if tensor.IsVariable()]
    return Contents(operators=dict(operators), custom=tuple(custom), variables=tuple(variables))


def _range(count: int, data: bytes) -> range:
    # A vector of tables takes four bytes an entry, so a longer one is damage, and would be walked for minutes.
    if count * 4 > len(data):
        raise ValueError(f"a list of {count} entries")
    return range(count)


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "replace") or "unnamed"
