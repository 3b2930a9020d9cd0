"""Write the API's OpenAPI document to a file, once openapi-spec-validator accepts it.

python scripts/openapi.py build/openapi.json
"""

import json
import sys
from pathlib import Path

from openapi_spec_validator import validate

from dialer.api.app import make_routes


def main() -> None:
    document, path = make_routes().openapi(), Path(sys.argv[1])
    validate(document)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
