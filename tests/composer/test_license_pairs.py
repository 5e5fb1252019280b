"""A table of license pairs, written by hand from the texts, and what `mix` makes of each when weights are merged."""

import pytest

from composer.license import mix
from priors.licenses import TABLE

PAIRS = """
# two licenses                                        published under, or the code of the conflict
# free ones go together; what has no conditions disappears beside what has
MIT                          MIT                       MIT
MIT                          Apache-2.0                Apache-2.0 MIT
MIT                          BSD-3-Clause              BSD-3-Clause MIT
MIT                          CC0-1.0                   MIT
CC0-1.0                      Unlicense                 CC0-1.0
0BSD                         Apache-2.0                Apache-2.0
ISC                          Zlib                      ISC Zlib
Apache-2.0                   CC-BY-4.0                 Apache-2.0 CC-BY-4.0
CC-BY-3.0                    CC-BY-4.0                 CC-BY-3.0 CC-BY-4.0
CDLA-Permissive-2.0          MIT                       CDLA-Permissive-2.0 MIT
ODC-By-1.0                   PDDL-1.0                  ODC-By-1.0
# copyleft takes in what is free
MIT                          GPL-2.0-only              GPL-2.0-only
MIT                          GPL-3.0-only              GPL-3.0-only
BSD-2-Clause                 AGPL-3.0-only             AGPL-3.0-only
CC0-1.0                      GPL-2.0-only              GPL-2.0-only
MIT                          LGPL-2.1-only             LGPL-2.1-only
MIT                          MPL-2.0                   MPL-2.0
MIT                          CC-BY-SA-4.0              CC-BY-SA-4.0
CC-BY-4.0                    CC-BY-SA-4.0              CC-BY-SA-4.0
CC-BY-4.0                    GPL-3.0-only              GPL-3.0-only
MIT                          ODbL-1.0                  ODbL-1.0
MIT                          EPL-2.0                   EPL-2.0
Apache-2.0                   EUPL-1.2                  EUPL-1.2
# Apache's clause on patents is a further restriction to GPL-2.0 alone, not to 3.0
Apache-2.0                   GPL-2.0-only              further-restrictions
Apache-2.0                   GPL-2.0-or-later          GPL-3.0-only
Apache-2.0                   GPL-3.0-only              GPL-3.0-only
Apache-2.0                   GPL-3.0-or-later          GPL-3.0-or-later
Apache-2.0                   AGPL-3.0-only             AGPL-3.0-only
Apache-2.0                   LGPL-3.0-only             LGPL-3.0-only
Apache-2.0                   MPL-2.0                   MPL-2.0
Apache-2.0                   CC-BY-SA-4.0              CC-BY-SA-4.0
# copyleft beside copyleft: only along the bridges that the texts build
GPL-2.0-only                 GPL-3.0-only              share-alike
GPL-2.0-or-later             GPL-3.0-only              GPL-3.0-only
GPL-2.0-only                 GPL-2.0-or-later          GPL-2.0-only
GPL-2.0-only                 AGPL-3.0-only             share-alike
GPL-3.0-only                 AGPL-3.0-only             AGPL-3.0-only
GPL-3.0-or-later             AGPL-3.0-or-later         AGPL-3.0-or-later
LGPL-2.1-only                GPL-2.0-only              GPL-2.0-only
LGPL-2.1-only                GPL-3.0-only              GPL-3.0-only
LGPL-3.0-only                GPL-2.0-only              share-alike
LGPL-3.0-only                GPL-3.0-only              GPL-3.0-only
LGPL-2.1-only                LGPL-3.0-only             GPL-3.0-only
MPL-2.0                      GPL-2.0-or-later          GPL-2.0-or-later
MPL-2.0                      GPL-3.0-only              GPL-3.0-only
MPL-2.0                      AGPL-3.0-only             AGPL-3.0-only
EPL-2.0                      GPL-3.0-only              share-alike
EPL-1.0                      GPL-2.0-only              share-alike
EUPL-1.2                     GPL-3.0-only              GPL-3.0-only
EUPL-1.1                     EUPL-1.2                  EUPL-1.2
OSL-3.0                      GPL-3.0-only              share-alike
MS-PL                        GPL-3.0-only              share-alike
CC-BY-SA-3.0                 CC-BY-SA-4.0              CC-BY-SA-4.0
CC-BY-SA-4.0                 GPL-3.0-only              GPL-3.0-only
CC-BY-SA-4.0                 GPL-2.0-only              share-alike
CC-BY-SA-4.0                 MPL-2.0                   GPL-3.0-only
CC-BY-SA-4.0                 ODbL-1.0                  share-alike
CDLA-Sharing-1.0             CC-BY-SA-4.0              share-alike
# not for money
MIT                          CC-BY-NC-4.0              CC-BY-NC-4.0 MIT
Apache-2.0                   CC-BY-NC-4.0              Apache-2.0 CC-BY-NC-4.0
CC-BY-NC-4.0                 CC-BY-NC-SA-4.0           CC-BY-NC-SA-4.0
CC-BY-4.0                    CC-BY-NC-SA-4.0           CC-BY-NC-SA-4.0
CC-BY-NC-SA-3.0              CC-BY-NC-SA-4.0           CC-BY-NC-SA-4.0
CC-BY-SA-4.0                 CC-BY-NC-4.0              further-restrictions
CC-BY-SA-4.0                 CC-BY-NC-SA-4.0           share-alike
GPL-3.0-only                 CC-BY-NC-4.0              further-restrictions
GPL-3.0-only                 CC-BY-NC-SA-4.0           share-alike
# no changes
MIT                          CC-BY-ND-4.0              no-derivatives
CC0-1.0                      CC-BY-NC-ND-4.0           no-derivatives
CC-BY-ND-4.0                 CC-BY-ND-4.0              no-derivatives
# licenses of models: limits on use travel on, and copyleft has no room for them
Apache-2.0                   LicenseRef-gemma          Apache-2.0 LicenseRef-gemma
MIT                          LicenseRef-llama3.1       LicenseRef-llama3.1 MIT
MIT                          LicenseRef-creativeml-openrail-m    LicenseRef-creativeml-openrail-m MIT
LicenseRef-gemma             LicenseRef-llama3.1       LicenseRef-gemma LicenseRef-llama3.1
LicenseRef-llama3.1          LicenseRef-llama3.3       LicenseRef-llama3.1 LicenseRef-llama3.3
LicenseRef-bigscience-openrail-m    CC-BY-NC-4.0       CC-BY-NC-4.0 LicenseRef-bigscience-openrail-m
LicenseRef-gemma             GPL-3.0-only              further-restrictions
LicenseRef-llama3.1          AGPL-3.0-only             further-restrictions
LicenseRef-creativeml-openrail-m    CC-BY-SA-4.0       further-restrictions
LicenseRef-openrail          CC-BY-NC-SA-4.0           further-restrictions
LicenseRef-openrail          GPL-2.0-or-later          further-restrictions
LicenseRef-llama2            LicenseRef-llama2         LicenseRef-llama2
LicenseRef-llama2            Apache-2.0                rivals
LicenseRef-llama3            LicenseRef-llama3.1       rivals
LicenseRef-llama3            LicenseRef-gemma          rivals
"""
ROWS = [line.split() for line in PAIRS.splitlines() if line.strip() and not line.startswith("#")]


def test_the_table_is_long_enough_and_names_each_pair_once() -> None:
    pairs = {frozenset(row[:2]) for row in ROWS}
    assert len(pairs) == len(ROWS) >= 60


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " + ".join(row[:2]))
def test_a_pair_is_judged_as_the_texts_say_in_either_order(row: list[str]) -> None:
    one, other, *expected = row
    for keys in ((one, other), (other, one)):
        found = mix(keys)
        assert list(found.under or (found.code,)) == expected, found.why
        assert (found.code is None) == (found.why == "")


def test_a_license_alone_stays_what_it_is_unless_it_forbids_changes() -> None:
    for key, terms in TABLE.items():
        found = mix([key])
        assert found.under == ((key,) if terms.fine_tune is not False else ()), key


def test_more_parts_never_make_a_conflict_go_away() -> None:
    keys = sorted(TABLE)
    for row in ROWS:
        if mix(row[:2]).code is not None:
            for third in keys:
                assert mix([*row[:2], third]).code is not None, (row[:2], third)
