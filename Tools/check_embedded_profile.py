#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whether a GGUF file with an embedded routing profile is, to the gguf package, the same model plus one string.

    moe-infer profile embed --model M.gguf --profile P.json --out M2.gguf
    .venv/bin/python Tools/check_embedded_profile.py M.gguf M2.gguf P.json
"""

import sys

import gguf
import numpy as np

KEY = "moe_infer.routing_profile"


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    plain, carrier = gguf.GGUFReader(sys.argv[1]), gguf.GGUFReader(sys.argv[2])
    with open(sys.argv[3], encoding="utf-8", newline="") as file:
        profile = file.read()

    field = carrier.fields.get(KEY)
    assert field is not None, f"no '{KEY}' in {sys.argv[2]}"
    assert field.types == [gguf.GGUFValueType.STRING], field.types
    assert field.contents() == profile, "the embedded profile is not the file's text"

    # The reader counts GGUF's header among the fields; the number of entries is one more unless an older profile was replaced.
    def entries(reader: gguf.GGUFReader) -> dict:
        return {
            name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.") and name != KEY
        }

    old, new = entries(plain), entries(carrier)
    assert list(old) == list(new), "other metadata, or another order"
    for name, value in old.items():
        assert value == new[name], f"metadata '{name}' differs"
    assert plain.alignment == carrier.alignment

    assert [tensor.name for tensor in plain.tensors] == [tensor.name for tensor in carrier.tensors]
    for old_tensor, new_tensor in zip(plain.tensors, carrier.tensors):
        assert old_tensor.tensor_type == new_tensor.tensor_type, old_tensor.name
        assert list(old_tensor.shape) == list(new_tensor.shape), old_tensor.name
        assert np.array_equal(old_tensor.data, new_tensor.data), old_tensor.name
        assert new_tensor.data_offset % carrier.alignment == 0, old_tensor.name
    print(f"the same {len(old)} entries and {len(plain.tensors)} tensors; profile of {len(profile)} characters")


if __name__ == "__main__":
    main()
