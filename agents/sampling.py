"""How a model is asked to choose its words: what goes into the request, and the same as the record has it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

TemplateValue = bool | Annotated[int, Field(ge=-1_000_000, le=1_000_000)] | Annotated[str, Field(max_length=100)]


class Sampling(BaseModel):
    """Of one registered model. The default is greedy; the seed is on record, and of use where temperature is not 0.

    What is None is not sent. `template` goes to the model's own chat template (vLLM's `chat_template_kwargs`), for
    instance `{"thinking": false}`; `reasoning_effort` is for models that know it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(default=0, ge=0, le=2)
    seed: int = Field(default=1, ge=0, lt=2**31)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1, le=1000)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repetition_penalty: float | None = Field(default=None, gt=0, le=2)
    reasoning_effort: Literal["none", "low", "medium", "high"] | None = None
    template: dict[Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")], TemplateValue] = Field(
        default_factory=dict[str, TemplateValue], max_length=8
    )

    def request(self) -> dict[str, JsonValue]:
        """The fields of a chat request, always in the same order."""
        asked: dict[str, JsonValue] = {name: _whole(value) for name, value in self._said().items()}
        if self.template:
            asked["chat_template_kwargs"] = {name: self.template[name] for name in sorted(self.template)}
        return asked

    def recorded(self) -> dict[str, bool | int | str]:
        """The same without the seed, which an entry has apart; fractions as text, as entries want them."""
        said = {name: _text(_whole(value)) for name, value in self._said().items() if name != "seed"}
        return {**said, **{f"template.{name}": self.template[name] for name in sorted(self.template)}}

    def _said(self) -> dict[str, float | int | str]:
        return self.model_dump(exclude={"template"}, exclude_none=True)


def _whole(value: float | int | str) -> float | int | str:
    """A number without a fraction as an integer: one way to write it, in requests and on record."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _text(value: float | int | str) -> int | str:
    return repr(value) if isinstance(value, float) else value


GREEDY = Sampling()
