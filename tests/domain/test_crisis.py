"""The card is never empty, and never names a number of another country."""

import pytest

from app.domain.crisis import ContactMode, default_crisis_policy, resources

POLICY = default_crisis_policy()


@pytest.mark.parametrize("region", ["US", "US-NY", "us-ca"])
def test_a_state_has_the_resources_of_its_country(region: str) -> None:
    found = {each.key: each for each in resources(POLICY, region)}
    assert {"emergency", "988", "crisis_text_line", "samhsa", "poison_control"} <= found.keys()
    modes = {contact.mode for contact in found["988"].contacts}
    assert modes == {ContactMode.CALL, ContactMode.TEXT, ContactMode.CHAT}
    (text,) = found["crisis_text_line"].contacts
    assert (text.to, text.body) == ("741741", "HOME")


def test_the_option_that_was_discontinued_is_not_shown() -> None:
    labels = [c.label or "" for r in resources(POLICY, "US") for c in r.contacts]
    assert not any("3" in label for label in labels)


@pytest.mark.parametrize("region", [None, "", "CA", "CA-ON", "-", "USA"])
def test_an_unknown_place_gets_advice_that_holds_anywhere(region: str | None) -> None:
    found = resources(POLICY, region)
    assert [each.key for each in found] == ["emergency"]
    assert "988" not in str(found)
