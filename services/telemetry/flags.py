"""The flags that switch faults on, in a file that is read again and again, with OpenFeature.

The file is in the format of flagd, https://flagd.dev/reference/flag-definitions/. OpenFeature
(https://openfeature.dev) evaluates a flag and writes that down as an event of the current span, with the
names of the semantic conventions: https://opentelemetry.io/docs/specs/semconv/feature-flags/feature-flags-events/

flagd's own provider brings gRPC along, which takes 15 MB of memory in each process. Its evaluator alone
takes 2 MB, so the provider here is made of that.
"""

import logging
import time
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from openfeature import api
from openfeature.contrib.hook.opentelemetry import TracingHook
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import TypeMismatchError
from openfeature.flag_evaluation import FlagResolutionDetails
from openfeature.provider import AbstractProvider, Metadata
from prometheus_client import Gauge

log = logging.getLogger(__name__)

# A change of the file is in force after this time at the latest.
POLL_SECONDS = 0.5
NO_FLAGS = '{"flags": {}}'

DAMAGED = Gauge(
    "dockercoins_faults_file_damaged",
    "1 if the file with the fault flags cannot be used, so that its last good state is in force, else 0.",
)


@cache
def key(fault: str) -> str:
    """Return the key of the flag that switches a fault on; it does not tell at a glance which one that is."""
    return sha256(fault.encode()).hexdigest()[:8]


class Provider(AbstractProvider):
    """OpenFeature's source of flags: flagd's evaluator. All flags are booleans."""

    def __init__(self) -> None:
        super().__init__()
        self.flags = FlagdCore()  # replaced as a whole when the file has changed

    def get_metadata(self) -> Metadata:
        """Return the name that evaluations carry."""
        return Metadata(name="flagd-file")

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """Return the value of a flag, and why it has that value."""
        return self.flags.resolve_boolean_value(flag_key, default_value, evaluation_context)

    def _not_boolean(self, flag_key: str, *_: Any, **__: Any) -> Any:
        raise TypeMismatchError(f"{flag_key} is a boolean, as all flags here")

    resolve_string_details = resolve_integer_details = _not_boolean
    resolve_float_details = resolve_object_details = _not_boolean


class Flags:
    """The flags in a file, as it was when it was last read.

    Where there is no file, every flag is off. A file that cannot be used changes nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._text: str | None = None
        self._keys: list[str] = []
        self._on: frozenset[str] = frozenset()
        self._provider = Provider()
        api.set_provider_and_wait(self._provider)
        self._client = api.get_client()
        self._client.add_hooks([TracingHook()])
        self.refresh()

    def on(self, fault: str) -> bool:
        """Tell whether a fault is switched on; if it is, the current span gets an event that says so.

        With the fault off this takes less than a microsecond, because OpenFeature is not asked.
        """
        return key(fault) in self._on and self._client.get_boolean_value(key(fault), False)

    def refresh(self) -> None:
        """Read the file, and find out which flags are on now: some are on until a certain time only."""
        try:
            text = self._path.read_text() if self._path.exists() else NO_FLAGS
            if text != self._text:
                flags = FlagdCore()
                self._on = _on(flags, keys := flags.set_flags_and_get_changed_keys(text))
                self._text, self._keys, self._provider.flags = text, keys, flags
            else:
                self._on = _on(self._provider.flags, self._keys)
        except Exception as error:  # whatever is wrong with the file, the service goes on
            DAMAGED.set(1)
            log.debug("%s: %r", self._path, error)
        else:
            DAMAGED.set(0)

    def watch(self) -> None:
        """Read the file again and again, for as long as the process lives."""
        while True:
            time.sleep(POLL_SECONDS)
            self.refresh()


def _on(flags: FlagdCore, keys: list[str]) -> frozenset[str]:
    return frozenset(key for key in keys if flags.resolve_boolean_value(key, False).value)
