"""The limits on connections, as a unit: who counts as one address, and that places come back."""

import ipaddress

import pytest

from registry.server.admission import Admission, Place, address_group


def admit(admission: Admission, host: str) -> Place:
    place = admission.admit(host)
    assert place is not None, host
    return place


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("::1", "::2", True),
    ],
)
def test_an_address_is_an_ipv4_address_or_a_64_of_ipv6(one: str, other: str, is_same: bool) -> None:
    assert (address_group(one) == address_group(other)) == is_same


def test_places_are_counted_exactly_and_given_back_once() -> None:
    admission = Admission(per_address=2, in_all=3)
    first, second = admit(admission, "192.0.2.1"), admit(admission, "192.0.2.1")
    assert admission.admit("192.0.2.1") is None
    third = admit(admission, "192.0.2.2")
    assert admission.admit("192.0.2.3") is None
    first.release()
    first.release()
    assert (admission.held, admission.groups) == (2, 2)
    fourth = admit(admission, "192.0.2.3")
    assert admission.admit("192.0.2.1") is None
    for place in (second, third, fourth):
        place.release()
    assert (admission.held, admission.groups) == (0, 0)


@pytest.mark.parametrize("host", ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::7"])
def test_a_trusted_proxy_is_bound_only_by_the_limit_for_all(host: str) -> None:
    networks = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32"))
    admission = Admission(per_address=1, in_all=3, trusted_proxies=networks)
    for _ in range(3):
        admit(admission, host)
    assert admission.admit(host) is None


def test_refusals_are_logged_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    admission = Admission(per_address=1, in_all=10)
    admit(admission, "192.0.2.1")
    for _ in range(1000):
        assert admission.admit("192.0.2.1") is None
    assert 1 <= len(caplog.records) <= 2
