"""Which models answer under each name: what a key may ask for. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec.structs import replace

from junctor.chat import (
    BadRequest,
    ChatRequest,
    Constraints,
    FusionOptions,
    Model,
    ModelCard,
    ModelForbidden,
    Pool,
    UnknownModel,
)
from junctor.gateway.estimate import Estimate, Tariff
from junctor.gateway.fused import Fused, as_asked
from junctor.gateway.keys import Caller
from junctor.pool.pool import find, resolve
from junctor.wire.constraints import suggest


class Menu:
    """The names of one pool."""

    def __init__(
        self,
        named: Mapping[str, Sequence[ModelCard]],
        routed: Mapping[str, Sequence[ModelCard]],
        *,
        hedges: bool = False,
        together: Mapping[str, Collection[str]] | None = None,
        fused: Mapping[str, Fused] | None = None,
        presets: Mapping[str, Fused] | None = None,
    ) -> None:
        """`named`: for each model, it and its fallbacks; `routed`: for each router, those it chooses from.

        `hedges`: whether a second model is asked when the first is late. `together`: for each router, models
        that may all be asked for one request. `fused`: the fusions; `presets`: those that a request may name.
        """
        self._names = {*named, *routed, *(fused or {})}
        self._routed = {name: [card.name for card in cards] for name, cards in routed.items()}
        self._fused = fused or {}
        self._presets = presets or {}
        self._tariff = Tariff(named, routed, hedges=hedges, together=together, fused=fused, presets=presets)

    def is_fusion(self, name: str) -> bool:
        """Whether a caller who says this name means a fusion."""
        return resolve(self._names, name) in self._fused

    def estimate(self, name: str, request: ChatRequest, prompt_tokens: int) -> Estimate:
        """What a request may come to. Raises `BadRequest` for a preset that is none."""
        return self._tariff.estimate(name, request, prompt_tokens)

    def permit(self, caller: Caller, name: str, request: ChatRequest) -> ChatRequest:
        """The request as the caller's key allows it: a router chooses among the key's models alone.

        A fusion that the key does not name asks those of its members alone that the key may use. Raises
        `ModelForbidden`, and `BadRequest` for a name in `fusion` that the key does not know.
        """
        if not caller.models:
            return request
        if name in self._fused:
            return self._permit_fusion(caller, name, request)
        if name not in self._routed:
            if name not in caller.models:
                raise _forbidden(caller, name)
            return request
        allowed = [model for model in self._routed[name] if model in caller.models]
        if not allowed and self._has_whole_router(caller, name):
            return request
        return _narrowed(caller, name, allowed, request)

    def permits(self, caller: Caller, name: str) -> bool:
        """Whether the caller's key may use it: `permit` lets a request that states no limits pass."""
        if not caller.models:
            return True
        if name in self._fused:
            members = self._fused[name].members
            return name in caller.models or any(self._may_take_part(caller, each) for each in members)
        if name not in self._routed:
            return name in caller.models
        models = self._routed[name]
        return self._has_whole_router(caller, name) or any(each in caller.models for each in models)

    def find(self, caller: Caller, pool: Pool, name: str) -> Model:
        """A model of the pool, for a caller who knows of those alone that the key may use.

        Raises `ModelForbidden`, and `UnknownModel`, which names no others.
        """
        if not caller.models:
            return find(pool, name)
        own = {each: model for each, model in pool.items() if self.permits(caller, each)}
        try:
            return find(own, name)
        except UnknownModel:
            if len(own) < len(pool) and resolve(pool, name) is not None:
                raise _forbidden(caller, name) from None
            raise

    def _has_whole_router(self, caller: Caller, name: str) -> bool:
        """The key names the router, and no model: so it may have all that the router chooses from."""
        return name in caller.models and all(
            each in self._routed or each in self._fused for each in caller.models
        )

    # Fusions.

    def _permit_fusion(self, caller: Caller, name: str, request: ChatRequest) -> ChatRequest:
        options, wanted = request.fusion or FusionOptions(), request.constraints.only
        if options.preset is not None:
            self._check_preset(caller, self._fused[name], options.preset)
        asked = as_asked(self._fused[name], self._presets, options)
        for field, names in (("analysis_models", options.analysis_models), ("model", (options.model,))):
            for each in names:
                if each is not None:
                    self._check_member(caller, asked, each, f"fusion.{field}")
        if (options.preset or name) in caller.models:
            return request
        if not options.analysis_models:
            allowed = [each for each in dict.fromkeys(asked.members) if self._may_take_part(caller, each)]
            request = _narrowed(caller, name, allowed, request)
        if asked.judge is None:
            return request
        if not self._may_take_part(caller, asked.judge):
            judge = (options.analysis_models or request.constraints.only)[0]
            return replace(request, fusion=replace(options, model=judge))
        if not wanted and not options.analysis_models:
            # It was the key that narrowed the members, and the key allows this judge.
            only = tuple(dict.fromkeys((*request.constraints.only, asked.judge)))
            request = replace(request, constraints=replace(request.constraints, only=only))
        return request

    def _may_take_part(self, caller: Caller, name: str) -> bool:
        """Whether the key may use it, and all that it may ask: nobody narrows what a member chooses from."""
        if name in self._routed:
            whole = self._has_whole_router(caller, name)
            return whole or all(each in caller.models for each in self._routed[name])
        if name in caller.models:
            return True
        if name not in self._fused:
            return False
        fused = self._fused[name]
        asks = fused.members if fused.judge is None else (*fused.members, fused.judge)
        return all(self._may_take_part(caller, each) for each in asks)

    def _check_preset(self, caller: Caller, fused: Fused, preset: str) -> None:
        """Raises `BadRequest` and `ModelForbidden`."""
        there = [each for each in self._presets if each in fused.presets]
        own = [each for each in there if self._may_use_preset(caller, each)]
        if preset in own:
            return
        if preset in there:
            raise ModelForbidden(
                f"this API key may not use the preset `{preset}`; it may use: {_listed(caller.models)}",
                param="fusion.preset",
            )
        raise BadRequest(f"there is no preset `{preset[:200]}`{suggest(preset, own)}", param="fusion.preset")

    def _may_use_preset(self, caller: Caller, preset: str) -> bool:
        members = self._presets[preset].members
        return preset in caller.models or any(self._may_take_part(caller, each) for each in members)

    def _check_member(self, caller: Caller, asked: Fused, name: str, param: str) -> None:
        """Raises `BadRequest` and `ModelForbidden`."""
        if name in asked.able:
            if not self._may_take_part(caller, name):
                raise _forbidden(caller, name, param)
            return
        if name in self._names and not self.permits(caller, name):
            raise _forbidden(caller, name, param)
        able = [each for each in sorted(asked.able) if self._may_take_part(caller, each)]
        raise BadRequest(f"`{name[:200]}` cannot take part in a fusion{suggest(name, able)}", param=param)


def _narrowed(caller: Caller, name: str, allowed: Sequence[str], request: ChatRequest) -> ChatRequest:
    """The request for these models alone, as far as it does not rule them out itself."""
    wanted = request.constraints.only
    only = tuple(model for model in allowed if not wanted or model in wanted)
    if not only:
        asked = f" and asks for {_listed(wanted)} only" if wanted else ""
        raise ModelForbidden(
            f"this API key may use {_listed(caller.models)}{asked}: `{name}` has nothing to choose from",
            param="junctor.only" if wanted else "model",
        )
    constraints: Constraints = replace(request.constraints, only=only)
    return replace(request, constraints=constraints)


def _forbidden(caller: Caller, name: str, param: str = "model") -> ModelForbidden:
    return ModelForbidden(
        f"this API key may not use the model `{name[:200]}`; it may use: {_listed(caller.models)}",
        param=param,
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
