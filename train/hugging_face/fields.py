"""Reader for the fields of a config.json, which reports all problems and unread fields together."""

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ancestral.arrays import shown
from ancestral.errors import CheckpointError, InvalidInput
from ancestral.excerpts import cut, report

T = TypeVar("T")
MOST, MOST_LAYERS = 2**31 - 1, 10_000
"""Limits on the integers, and on the number of layers, in a config.json."""
_WORDS = """
    architectures model_type name_or_path transformers_version tokenizer_class task_specific_params
    dtype torch_dtype use_bfloat16 torchscript attn_implementation attention_implementation
    bos_token_id eos_token_id pad_token_id sep_token_id unk_token_id decoder_start_token_id
    id2label label2id num_labels problem_type finetuning_task prefix classifier_dropout
    use_cache output_attentions output_hidden_states output_scores return_dict use_return_dict
    return_dict_in_generate chunk_size_feed_forward gradient_checkpointing initializer_range
    cross_attention_hidden_size tf_legacy_loss is_decoder pretraining_tp
    do_sample temperature top_k top_p typical_p epsilon_cutoff eta_cutoff repetition_penalty
    length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids max_length
    min_length max_new_tokens num_beams num_beam_groups num_return_sequences diversity_penalty
    early_stopping exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id
    remove_invalid_values suppress_tokens begin_suppress_tokens
    unsloth_version unsloth_fixed model_name transformers.js_config
"""
_METADATA = frozenset(_WORDS.split())
"""Fields of any model that change neither the network nor the meaning of its weights.

They hold origin, versions, and settings of training and generation. The last line has fields of
other tools: Unsloth's version, its note of a mended tokenizer, and the model's name; and how
Transformers.js loads its own files.
"""
_MATTERING = """
    rope_theta rope_scaling rope_parameters partial_rotary_factor rotary_pct rotary_emb_base
    rotary_dim alibi position_embedding_type sliding_window layer_types window_size
    attention_bias mlp_bias use_bias qk_norm use_qk_norm head_dim num_key_value_heads
    attn_logit_softcapping final_logit_softcapping query_pre_attn_scalar attention_multiplier
    embedding_multiplier residual_multiplier logits_scaling logit_scale scale_emb scale_depth
    norm_epsilon layer_norm_eps layer_norm_epsilon rms_norm_eps hidden_act activation_function
    num_experts num_local_experts num_experts_per_tok n_routed_experts moe_intermediate_size
    quantization quantization_config compression_config multi_query parallel_attn
"""
_MATTERS = frozenset(_MATTERING.split())
"""Fields that change what some models compute; they are never ignored, even if unknown here."""
_BY_VALUE: Mapping[str, tuple[Any, ...]] = {
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "tie_encoder_decoder": (False,),
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
}
"""Fields of any model for which only these values are supported."""


class Fields:
    """Reads fields; a missing field has the default of transformers, and null is a value."""

    def __init__(
        self,
        path: Path,
        values: Mapping[str, Any],
        ignored: Collection[str] = (),
        what: str = "model",
    ) -> None:
        """Start with nothing read.

        Args:
            path: path of the file, for messages.
            values: content of the file.
            ignored: unknown fields that do not change the model, as stated by the user.
            what: kind of model that the file describes, for messages.
        """
        self.path = path
        self._ignored, self._what = ignored, what
        self._values = values
        self._read: set[str] = set()
        self._problems: list[str] = []

    def fail(self, problem: str) -> None:
        """Record a problem."""
        self._problems.append(problem)

    def raw(self, name: str, default: Any = None) -> Any:
        """Return a value unchecked."""
        self._read.add(name)
        return self._values.get(name, default)

    def whole(self, name: str, default: int, least: int = 1, most: int = MOST) -> int:
        """Return an integer in `least` .. `most`; the default if it is wrong."""
        value = self.raw(name, default)
        if type(value) is int and least <= value <= most:
            return value
        end = f" and <= {most}" if type(value) is int and value > most else ""
        self.fail(f"{name}: expected an integer >= {least}{end}, got {shown(value)}")
        return default

    def whole_or_none(self, name: str, default: int | None = None) -> int | None:
        """Return an integer of at least 1, or None for null."""
        value = self.raw(name, default)
        return None if value is None else self.whole(name, value if type(value) is int else 1)

    def number(self, name: str, default: float) -> float:
        """Return a finite number above 0; the default if it is wrong."""
        return self.positive(name, self.raw(name, default), default)

    def positive(self, name: str, value: Any, default: float) -> float:
        """Return a value of this name as a finite number above 0; the default if it is wrong."""
        if type(value) in (int, float) and 0 < value <= sys.float_info.max:
            return float(value)
        self.fail(f"{name}: expected a number > 0, got {shown(value)}")
        return default

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false; the default if it is wrong."""
        value = self.raw(name, default)
        if isinstance(value, bool):
            return value
        self.fail(f"{name}: expected true or false, got {shown(value)}")
        return default

    def choice(self, name: str, default: str, choices: Mapping[str, T]) -> T:
        """Return what a word stands for in `choices`; that of the default if it is wrong."""
        value = self.raw(name, default)
        if isinstance(value, str) and value in choices:
            return choices[value]
        self.fail(f"{name}: expected one of {list(choices)}, got {shown(value)}")
        return choices[default]

    def only(self, name: str, *allowed: Any) -> None:
        """Check that a field has one of the allowed values."""
        value = self.raw(name, allowed[0])
        # JSON distinguishes 0 from false.
        if not any(value == each and type(value) is type(each) for each in allowed):
            expected = " or ".join(shown(each) for each in allowed)
            self.fail(f"{name}: expected {expected}, got {shown(value)}")

    def skip_general(self) -> None:
        """Read the fields that any model of transformers may have."""
        self.ignore(*_METADATA)
        for name, allowed in _BY_VALUE.items():
            self.only(name, *allowed)

    def ignore(self, *names: str) -> None:
        """Mark fields as read that change neither the network nor the meaning of its weights."""
        self._read.update(names)

    def finish(self) -> None:
        """Raise if a problem was recorded, or a field was not read.

        Raises:
            CheckpointError: there are problems; the message lists them, and how to ignore unknown
                fields.
            InvalidInput: a field to ignore is not in the file or cannot be ignored.
        """
        unknown = {
            name for name in self._values if name not in self._read and not name.startswith("_")
        }
        for name in self._ignored:
            self._check_ignored(name, unknown)
        left = sorted(unknown - {*self._ignored})
        self._problems += [
            f"{name}: unknown field, value {shown(self._values[name])}" for name in left
        ]
        if not self._problems:
            return
        text = report(f"{self.path}: this {self._what} is not supported", self._problems)
        harmless = [name for name in left if name not in _MATTERS]
        if harmless:
            options = cut(" ".join(f"--ignore-field {name}" for name in harmless), 120)
            it = "it does" if len(harmless) == 1 else "they do"
            text += f"\npass {options} if {it} not change what the model computes"
        raise CheckpointError(text)

    def _check_ignored(self, name: str, unknown: Collection[str]) -> None:
        """Check that a field to ignore is in the file, and that it can be ignored."""
        option = f"--ignore-field {name}:"
        if name not in self._values:
            raise InvalidInput(f"{option} no such field in {self.path.name}; leave the option out")
        if name in _MATTERS:
            raise InvalidInput(
                f"{option} the field changes what the model computes, so it cannot be ignored; "
                f"export the model from Python (docs/own-model.md)"
            )
        if name not in unknown:
            raise InvalidInput(
                f"{option} the field is read, checked or known to change nothing; leave the option "
                f"out"
            )
