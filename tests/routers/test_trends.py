"""Scores over time: what counts, on which day, for whom, and as a picture."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import update

from app.core import clock
from app.models.participants import Participant
from tests.factories import Make, Person
from tests.routers.assessing import GAD7, PHQ9, accesses, completed, treated
from tests.routers.scheduling import set_clock

SVG = "{http://www.w3.org/2000/svg}"


async def _trend(person: Person, participant: Person, key: str = "gad-7") -> dict[str, Any]:
    answer = await person.get(f"/v1/participants/{participant.participant_id}/trends/{key}")
    assert answer.status_code == HTTPStatus.OK, answer.text
    read: dict[str, Any] = answer.json()
    return read


async def _drawing(person: Person, participant: Person, key: str = "gad-7") -> ET.Element:
    path = f"/v1/participants/{participant.participant_id}/trends/{key}/chart.svg"
    answer = await person.get(path)
    assert answer.status_code == HTTPStatus.OK, answer.text
    assert answer.headers["Content-Type"].startswith("image/svg+xml")
    return ET.fromstring(answer.text)  # noqa: S314 (our own picture)


async def _weeks(make: Make, clinician: Person, participant: Person, *worths: int) -> None:
    begun = clock.now()
    for week, worth in enumerate(worths):
        await set_clock(make, begun + timedelta(days=7 * week))
        await completed(clinician, participant, dict.fromkeys(GAD7, worth), "gad-7")


async def test_scores_are_read_from_the_oldest_to_the_newest(make: Make) -> None:
    clinician, participant = await treated(make)
    await _weeks(make, clinician, participant, 3, 2, 0)

    series, _ = (await _trend(clinician, participant))["series"]

    assert [point["value"] for point in series["points"]] == [21, 14, 0]
    assert [point["band"] for point in series["points"]] == ["severe", "moderate", "minimal"]
    assert [point["change_class"] for point in series["points"]] == [None, "improved", "recovered"]
    assert series["points"][2]["change"]["baseline"] == 21
    assert series["points"][2]["change_from_previous"]["baseline"] == 14
    assert series["points"][2]["change_from_previous"]["sources"]
    assert (series["minimum"], series["maximum"], series["direction"]) == (0, 21, "higher_worse")
    assert [band["code"] for band in series["bands"]][:2] == ["minimal", "mild"]


async def test_a_day_is_that_of_the_participant(make: Make) -> None:
    clinician, participant = await treated(make)
    async with make.transaction() as db:
        await db.execute(update(Participant).values(time_zone="Pacific/Auckland"))
    await set_clock(make, datetime(2027, 3, 1, 19, tzinfo=UTC))
    await completed(clinician, participant, dict.fromkeys(GAD7, 1), "gad-7")

    trend = await _trend(clinician, participant)

    assert trend["time_zone"] == "Pacific/Auckland"
    assert trend["series"][0]["points"][0]["taken_on"] == "2027-03-02"


async def test_a_correction_takes_the_place_of_what_it_corrects(make: Make) -> None:
    clinician, participant = await treated(make)
    await _weeks(make, clinician, participant, 3, 0)
    before = (await _trend(clinician, participant))["series"][0]["points"]
    first = before[0]

    corrected = await clinician.post(
        f"/v1/assessments/{first['assessment_id']}/correct",
        json={"answers": [{"item_id": "q1", "value": 0}], "reason": "Misread."},
    )

    after = (await _trend(clinician, participant))["series"][0]["points"]
    assert corrected.status_code == HTTPStatus.CREATED
    assert [point["value"] for point in after] == [18, 0]
    assert after[0]["taken_at"] == first["taken_at"]
    assert after[0]["revision"] == 2


async def test_a_score_that_cannot_be_computed_is_a_gap_and_no_zero(make: Make) -> None:
    clinician, participant = await treated(make)
    await completed(clinician, participant, {"q1": 1}, "gad-7")

    series, _ = (await _trend(clinician, participant))["series"]

    assert series["points"][0]["value"] is None
    assert "too many questions" in str(
        (await _drawing(clinician, participant)).findtext(f"{SVG}desc")
    )


async def test_without_forms_there_is_an_empty_trend_and_a_picture_that_says_so(make: Make) -> None:
    clinician, participant = await treated(make)

    trend = await _trend(clinician, participant)
    drawing = await _drawing(clinician, participant)

    assert trend["series"][0]["points"] == []
    assert "No form was submitted yet." in str(drawing.findtext(f"{SVG}desc"))


async def test_a_participant_is_not_shown_what_is_not_for_them(make: Make) -> None:
    clinician, participant = await treated(make)
    await completed(clinician, participant, dict.fromkeys(PHQ9, 1) | {"q9": 0})

    trend = await _trend(participant, participant, "phq-9")
    drawing = await _drawing(participant, participant, "phq-9")

    assert (trend["result"], trend["series"]) == ("withheld", [])
    assert "not shown" in str(drawing.findtext(f"{SVG}desc"))
    assert "8" not in str(drawing.findtext(f"{SVG}desc"))


async def test_the_picture_says_in_words_what_it_shows(make: Make) -> None:
    clinician, participant = await treated(make)
    await _weeks(make, clinician, participant, 3, 2, 0)
    points = (await _trend(clinician, participant))["series"][0]["points"]

    drawing = await _drawing(clinician, participant)

    description = str(drawing.findtext(f"{SVG}desc"))
    assert drawing.get("role") == "img"
    named = str(drawing.get("aria-labelledby")).split()
    assert named == [child.get("id") for child in drawing[:2]]
    assert drawing[0].tag == f"{SVG}title"
    assert "Total, from 0 to 21, higher is worse." in description
    rows = description.splitlines()[2:5]
    for row, point in zip(rows, points, strict=True):
        day = datetime.fromisoformat(point["taken_on"])
        assert row.startswith(f"{day.day} {day:%B %Y}; {point['value']}; ")
    assert rows[2].endswith("Minimal; recovered.")
    assert "America/Denver" in description


async def test_the_picture_holds_its_words_as_text(make: Make) -> None:
    clinician, participant = await treated(make)
    await _weeks(make, clinician, participant, 3, 2)

    written = [
        "".join(each.itertext())
        for each in (await _drawing(clinician, participant)).iter(f"{SVG}text")
    ]

    assert {"21", "14", "Reliably improved"} <= set(written)
    assert any(text.startswith("Moderate (10") for text in written)


async def test_a_picture_of_many_scores_and_of_one_that_is_not_validated_is_drawn(
    make: Make,
) -> None:
    clinician, participant = await treated(make)
    await completed(
        clinician, participant, {"importance": 8, "confidence": 6, "commitment": 9}, "rulers"
    )

    trend = await _trend(clinician, participant, "rulers")
    drawing = await _drawing(clinician, participant, "rulers")

    assert trend["label"] == "Not a validated instrument."
    assert "Not a validated instrument." in str(drawing.findtext(f"{SVG}desc"))


@pytest.mark.parametrize("suffix", ["", "/chart.svg"])
async def test_who_is_not_related_finds_no_trend(make: Make, suffix: str) -> None:
    clinician, participant = await treated(make)
    await completed(clinician, participant, dict.fromkeys(GAD7, 1), "gad-7")
    path = f"/v1/participants/{participant.participant_id}/trends/gad-7{suffix}"

    answers = [await person.get(path) for person in (await make.staff(), await make.participant())]
    unknown = await clinician.get(path.replace("gad-7", "gad-77"))

    assert [each.status_code for each in answers] == [HTTPStatus.NOT_FOUND] * 2
    assert unknown.status_code == HTTPStatus.NOT_FOUND


async def test_aud_01_a_trend_that_is_read_leaves_its_row(make: Make) -> None:
    clinician, participant = await treated(make)

    await _trend(clinician, participant)
    await _drawing(clinician, participant)

    assert await accesses(make, participant, "trend") == [("R", "assessment:read")] * 2
