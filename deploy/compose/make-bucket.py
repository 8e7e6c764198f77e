"""Make the bucket of DEPOTRY_STORAGE unless it is there, waiting up to a minute for the service. Runs in the image."""

import os
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

WAIT_S = 60.0


def main() -> None:
    """Exit status 1, and one line, if it cannot be made."""
    place = urlsplit(os.environ["DEPOTRY_STORAGE"])
    options = {name: values[-1] for name, values in parse_qs(place.query).items()}
    client = boto3.client(
        "s3",
        endpoint_url=options.get("endpoint"),
        region_name=options.get("region", "us-east-1"),
        aws_access_key_id=os.environ["DEPOTRY_S3_ACCESS_KEY_ID"],
        aws_secret_access_key=Path(os.environ["DEPOTRY_S3_SECRET_ACCESS_KEY_FILE"]).read_text().strip(),
        config=Config(s3={"addressing_style": options.get("addressing", "path")}, retries={"total_max_attempts": 1}),
    )
    until = time.monotonic() + WAIT_S
    while True:
        try:
            client.create_bucket(Bucket=place.netloc)
        except (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
            print(f"the bucket {place.netloc} is there")
            return
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > until:
                sys.exit(f"the bucket {place.netloc} cannot be made: {error}")
            time.sleep(1)
        else:
            print(f"made the bucket {place.netloc}")
            return


if __name__ == "__main__":
    main()
