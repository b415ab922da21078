"""Catalogues as hypothesis makes them: anything that the models allow."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import strategies as st

from catalogue.collection import Catalogue, Entry
from catalogue.model import MEASURES, MONEY, Account, Agency, AgencyCap, Cap, NamedCap, Outcomes, Pack, Plan, Wholesale

NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,8}", fullmatch=True)
IDS = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FFF, categories=("L", "N", "P", "S")), min_size=1, max_size=9
)
TEXTS = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=("C", "Z")), min_size=1, max_size=9
)
AMOUNTS = st.integers(0, 2**53).map(lambda micros: Decimal(micros) / 1_000_000)
MINUTES = st.integers(0, 2**53 // 60)
SECONDS = st.integers(0, 2**53)
DAYS = st.integers(0, 36_500)
PERCENTS = st.sets(st.integers(1, 1_000), max_size=3).map(lambda levels: tuple(sorted(levels)))
CURRENCIES = st.sampled_from(["USD", "EUR", "JPY", "KWD"])
ZONES = st.sampled_from(["UTC", "America/New_York", "Asia/Kathmandu"])
FLAGS = st.none() | st.booleans()


@st.composite
def caps(draw):
    minutes, spend = draw(st.none() | MINUTES), draw(st.none() | AMOUNTS)
    if minutes is None and spend is None:
        minutes = 1
    mode = draw(st.sampled_from(["hard", "soft"]))
    return Cap(minutes=minutes, spend=spend, mode=mode, alerts_percent=draw(PERCENTS))


@st.composite
def named_caps(draw, model):
    """Some caps with a name, or nothing said of them."""
    found = {}
    for name in draw(st.sets(IDS, max_size=3)):
        on = draw(st.sampled_from(MEASURES))
        signed = AMOUNTS | AMOUNTS.map(lambda amount: -amount)
        limit = MINUTES if on in ("minutes", "wallet") else signed if on == "margin" else AMOUNTS
        more = {"currency": draw(st.none() | CURRENCIES)} if model is AgencyCap and on in MONEY else {}
        per, mode = draw(st.sampled_from(["period", "day"])), draw(st.sampled_from(["hard", "soft"]))
        found[name] = model(**{on: draw(limit)}, per=per, mode=mode, alerts_percent=draw(PERCENTS), **more)
    return draw(st.sampled_from([None, found]))


def plans(agency, packs):
    """Plans of an agency that may name some of its packs."""
    named = st.sets(st.sampled_from(sorted(packs)), min_size=1).map(sorted).map(tuple) if packs else st.nothing()
    rates = st.none() | AMOUNTS
    return st.builds(
        Plan,
        agency=st.just(agency),
        description=st.none() | TEXTS,
        currency=st.none(),
        timezone=st.none() | ZONES,
        price=AMOUNTS,
        every=st.builds("{} {}".format, st.integers(1, 100), st.sampled_from(["days", "weeks", "months", "years"])),
        included_minutes=MINUTES,
        overage=rates.map(lambda rate: "blocked" if rate is None else f"{rate:f} per minute"),
        increments=st.builds("{}/{}".format, st.integers(1, 2**53), st.integers(1, 60)),
        minimum_s=SECONDS,
        connection_fee=AMOUNTS,
        free_below_s=SECONDS,
        outcomes=st.builds(Outcomes, answered=FLAGS, voicemail=FLAGS, busy=FLAGS, test=FLAGS),
        packs=st.booleans() | named,
        due_days=DAYS,
        grace_days=DAYS,
        late_calls=st.sampled_from(["next_period", "adjust", "write_off"]),
        late_window_s=st.integers(0, 86_400),
        allowance_alerts_percent=PERCENTS,
        cap=st.none() | caps(),
        trial_days=DAYS,
        trial_included_minutes=st.none() | MINUTES,
        cancel_credit=st.sampled_from(["none", "unused"]),
        number_price=st.none() | AMOUNTS,
        max_call_s=st.none() | st.integers(1, 2**53),
        unusual_usage=st.booleans(),
        forecast_alert=st.booleans(),
    )


def wholesales():
    """What a platform may charge an agency."""
    return st.builds(
        Wholesale,
        rate=AMOUNTS.map(lambda rate: f"{rate:f} per minute"),
        rate_card=st.none() | st.just("0" * 32),
        currency=st.none() | CURRENCIES,
        timezone=st.none() | ZONES,
        cost=st.sampled_from(["card", "reported"]),
        outcomes=st.builds(Outcomes, answered=FLAGS, test=FLAGS),
        every=st.sampled_from(["1 month", "2 weeks", "1 day"]),
        price=AMOUNTS,
        included_minutes=MINUTES,
        number_price=AMOUNTS,
        connection_fee=AMOUNTS,
        due_days=DAYS,
    )


@st.composite
def catalogues(draw):
    """A catalogue of one or two agencies; names may be the same in both, accounts not."""
    entries = []
    accounts = sorted(draw(st.sets(IDS, max_size=4)))
    agencies = sorted(draw(st.sets(NAMES, min_size=1, max_size=2)))
    for number, agency in enumerate(agencies):
        packs = draw(st.sets(NAMES, max_size=2))
        assigned = st.booleans() | (st.just((min(packs),)) if packs else st.nothing())
        body = Agency(
            name=draw(TEXTS),
            currency=draw(CURRENCIES),
            timezone=draw(ZONES),
            packs=draw(assigned),
            caps=draw(named_caps(AgencyCap)),
            wholesale=draw(st.none() | wholesales()),
        )
        entries.append(Entry(agency, "agency", agency, body))
        for name in packs:
            pack = Pack(agency=agency, minutes=draw(st.integers(1, 999)), credit=draw(AMOUNTS), price=draw(AMOUNTS))
            entries.append(Entry(agency, "pack", name, pack))
        for name in draw(st.sets(NAMES, max_size=2)):
            entries.append(Entry(agency, "plan", name, draw(plans(agency, packs))))
        for account in accounts[number::2] if len(agencies) > 1 else accounts:
            packs_of, caps_of = draw(st.none() | assigned), draw(named_caps(NamedCap))
            client = Account(agency=agency, name=draw(TEXTS), packs=packs_of, caps=caps_of)
            entries.append(Entry(agency, "account", account, client))
    return Catalogue.of(entries)
