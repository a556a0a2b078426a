import pytest
from sqlalchemy import LargeBinary

from app.models import Base
from tests.contract.documents import CLASSES, DOCS, PAGES, SEALED, class_of


@pytest.mark.parametrize("name", PAGES)
def test_authz_03_phi_03_a_page_says_what_the_code_says(name: str) -> None:
    page = DOCS / name
    assert page.is_file(), "write it with `python -m tests.contract.documents`"
    assert page.read_text(encoding="utf-8") == PAGES[name]()


def test_phi_03_every_column_has_a_class_and_what_is_sealed_is_bytes() -> None:
    columns = [c for table in Base.metadata.tables.values() for c in table.columns]
    assert {str(c): class_of(c) for c in columns if class_of(c) not in CLASSES} == {}
    for column in columns:
        if class_of(column) in SEALED:
            assert isinstance(column.type, LargeBinary), column
        if isinstance(column.type, LargeBinary):
            assert class_of(column) in SEALED | {"secret"}, column
