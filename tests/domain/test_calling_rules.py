"""What a workspace may call: premium-rate numbers unless allowed never, and no country but those it may."""

import phonenumbers
import pytest
from phonenumbers import PhoneMetadata, PhoneNumberFormat, PhoneNumberType

from dialer.domain.calling_rules import COUNTRY, PREMIUM_RATE, CallingRules, country_of, is_costly
from dialer.domain.contact import parse_contact
from dialer.errors import InvalidInput

GERMANY = CallingRules(frozenset({"DE"}))


@pytest.mark.parametrize(
    ("rules", "number", "reason"),
    [
        (CallingRules(), "+4930901820", None),
        (CallingRules(), "+19005551234", PREMIUM_RATE),
        (CallingRules(), "+491805123456", PREMIUM_RATE),
        (CallingRules(), "+979123456789", PREMIUM_RATE),
        (CallingRules(premium_rate=True), "+19005551234", None),
        (GERMANY, "+4930901820", None),
        (GERMANY, "+12025550101", COUNTRY),
        (CallingRules(), "+870773111632", PREMIUM_RATE),
        (CallingRules(), "+881612345678", PREMIUM_RATE),
        (CallingRules(premium_rate=True), "+881612345678", None),
        (CallingRules(frozenset({"DE"}), premium_rate=True), "+881612345678", COUNTRY),
        (GERMANY, "+491805123456", PREMIUM_RATE),
        (CallingRules(frozenset({"US"})), "+18095551234", COUNTRY),
        (CallingRules(frozenset({"DO"})), "+18095551234", None),
        (CallingRules(frozenset({"RU"})), "+77011234567", COUNTRY),
        (CallingRules(frozenset({"IT"})), "+390612345678", None),
        (GERMANY, "no number", COUNTRY),
        (GERMANY, "+1 is no number", COUNTRY),
        (CallingRules(), "no number", None),
    ],
)
def test_a_number_that_the_workspace_may_not_call_is_refused(
    rules: CallingRules, number: str, reason: str | None
) -> None:
    assert rules.refusal(number) == reason


def test_the_library_says_the_same_of_an_example_of_every_kind_in_every_country() -> None:
    costly = {PhoneNumberType.PREMIUM_RATE, PhoneNumberType.SHARED_COST}
    seen = 0
    for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items():
        for region in regions:
            plan = PhoneMetadata.metadata_for_region_or_calling_code(code, region)
            assert plan is not None
            for kind in (plan.premium_rate, plan.shared_cost, plan.mobile, plan.fixed_line, plan.toll_free, plan.voip):
                if kind is None or not kind.example_number:
                    continue
                number = phonenumbers.parse(f"+{code}{kind.example_number}")
                e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
                is_network = code in (870, 881, 882, 883)
                assert is_costly(e164) == (is_network or phonenumbers.number_type(number) in costly), e164
                if phonenumbers.is_valid_number(number):
                    assert country_of(e164) == phonenumbers.region_code_for_number(number), e164
                seen += 1
    assert seen > 500


def test_the_reason_of_a_row_says_which_rule_it_is() -> None:
    def refused(number: str) -> str:
        with pytest.raises(InvalidInput) as error:
            parse_contact({"phone_number": number}, {}, default_region=None, batch_timezone="UTC", rules=GERMANY)
        return str(error.value)

    assert refused("+49 1805 123456") == (
        "phone_number: is a premium-rate, shared-cost or satellite number, which this workspace may not call"
    )
    assert refused("+12025550101") == "phone_number: is of a country that this workspace may not call"
