"""Questionnaires as immutable definitions, and the catalogue of those that ship.

`load` turns a definition written as data into an `Instrument` and refuses one
that contradicts itself; `dump` writes it back; `shipped` is the catalogue of `app/instruments`. The
format is that of the clinical reference, section 1.1.
"""

from app.domain.instruments.catalogue import shipped
from app.domain.instruments.definitions import (
    FlagKind,
    FlagRule,
    Gate,
    GateKind,
    Informant,
    Instrument,
    Item,
    ItemType,
    License,
    Numeric,
    Option,
)
from app.domain.instruments.expressions import AnswerValue, Expression, Facts, Number, holds
from app.domain.instruments.faults import Fault, InvalidDefinition
from app.domain.instruments.loading import definition_schema, dump, load
from app.domain.instruments.measures import (
    Band,
    ChangeRule,
    Cutoff,
    Direction,
    Method,
    MissingPolicy,
    MissingRule,
    Rounding,
    ScoreRule,
)
from app.domain.instruments.visibility import asked, is_asked

__all__ = [
    "AnswerValue",
    "Band",
    "ChangeRule",
    "Cutoff",
    "Direction",
    "Expression",
    "Facts",
    "Fault",
    "FlagKind",
    "FlagRule",
    "Gate",
    "GateKind",
    "Informant",
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
    "asked",
    "definition_schema",
    "dump",
    "holds",
    "is_asked",
    "load",
    "shipped",
]
