"""Questionnaires as immutable definitions, and the catalogue of those that ship.

`load` turns a definition written as data into an `Instrument` and refuses one
that contradicts itself; `dump` writes it back; `shipped` is the catalogue of `app/instruments`. The
format is that of the clinical reference, section 1.1.
"""

from app.domain.instruments.catalogue import shipped
from app.domain.instruments.definitions import (
    AnswerValue,
    Band,
    ChangeRule,
    Cutoff,
    Direction,
    FlagKind,
    FlagRule,
    Gate,
    GateKind,
    Instrument,
    Item,
    ItemType,
    License,
    Method,
    MissingPolicy,
    MissingRule,
    Numeric,
    Option,
    Rounding,
    ScoreRule,
)
from app.domain.instruments.expressions import Expression, Facts, Number, holds
from app.domain.instruments.loading import InvalidDefinition, dump, load

__all__ = [
    "AnswerValue",
    "Band",
    "ChangeRule",
    "Cutoff",
    "Direction",
    "Expression",
    "Facts",
    "FlagKind",
    "FlagRule",
    "Gate",
    "GateKind",
    "Instrument",
    "InvalidDefinition",
    "Item",
    "ItemType",
    "License",
    "Method",
    "MissingPolicy",
    "MissingRule",
    "Number",
    "Numeric",
    "Option",
    "Rounding",
    "ScoreRule",
    "dump",
    "holds",
    "load",
    "shipped",
]
