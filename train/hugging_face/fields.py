"""The fields of a config.json, each read once; what is wrong, or was not read, is told at once."""

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ancestral.arrays import shown
from ancestral.errors import CheckpointError, InvalidInput
from ancestral.excerpts import cut, report

T = TypeVar("T")
MOST, MOST_LAYERS = 2**31 - 1, 10_000
"""Numbers beyond which a config.json is no model's."""
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
"""Fields of any model that change neither the network nor what its weights mean: where it comes
from, how it was made, what it is told when it is trained or asked for text. The last line is what
tools other than transformers note: Unsloth its version, that it mended a tokenizer, and the name of
the model; Transformers.js how its own files are loaded."""
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
"""Fields of models in general that change what is computed: unknown or not, none is ignored."""
_BY_VALUE: Mapping[str, tuple[Any, ...]] = {
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "tie_encoder_decoder": (False,),
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
}
"""Fields of any model of which one value is read."""


class Fields:
    """Reads fields; what is left out has transformers' default, null is a value."""

    def __init__(
        self,
        path: Path,
        values: Mapping[str, Any],
        ignored: Collection[str] = (),
        what: str = "a model",
    ) -> None:
        """Begin with nothing read.

        Args:
            path: of the file, for messages.
            values: of the file.
            ignored: unknown fields that the user says change nothing.
            what: what the file describes, for messages.
        """
        self.path = path
        self._ignored, self._what = ignored, what
        self._values = values
        self._read: set[str] = set()
        self._problems: list[str] = []

    def fail(self, problem: str) -> None:
        """Note something that is wrong."""
        self._problems.append(problem)

    def raw(self, name: str, default: Any = None) -> Any:
        """A value as it stands, whatever it is."""
        self._read.add(name)
        return self._values.get(name, default)

    def whole(self, name: str, default: int, least: int = 1, most: int = MOST) -> int:
        """A whole number of at least and at most so much; the default where it is wrong."""
        value = self.raw(name, default)
        if type(value) is int and least <= value <= most:
            return value
        end = f" and <= {most}" if type(value) is int and value > most else ""
        self.fail(f"{name}: expected a whole number >= {least}{end}, got {shown(value)}")
        return default

    def whole_or_none(self, name: str, default: int | None = None) -> int | None:
        """A whole number of at least 1, or null."""
        value = self.raw(name, default)
        return None if value is None else self.whole(name, value if type(value) is int else 1)

    def number(self, name: str, default: float) -> float:
        """A finite number above 0; the default where it is wrong."""
        return self.positive(name, self.raw(name, default), default)

    def positive(self, name: str, value: Any, default: float) -> float:
        """A value of this name as a finite number above 0; the default where it is wrong."""
        if type(value) in (int, float) and 0 < value <= sys.float_info.max:
            return float(value)
        self.fail(f"{name}: expected a number > 0, got {shown(value)}")
        return default

    def flag(self, name: str, default: bool) -> bool:
        """True or false; the default where it is wrong."""
        value = self.raw(name, default)
        if isinstance(value, bool):
            return value
        self.fail(f"{name}: expected true or false, got {shown(value)}")
        return default

    def choice(self, name: str, default: str, choices: Mapping[str, T]) -> T:
        """What a word stands for; that of the default where it is none."""
        value = self.raw(name, default)
        if isinstance(value, str) and value in choices:
            return choices[value]
        self.fail(f"{name}: expected one of {list(choices)}, got {shown(value)}")
        return choices[default]

    def only(self, name: str, *allowed: Any) -> None:
        """Refuse another value than these."""
        value = self.raw(name, allowed[0])
        # 0 is no false: JSON tells them apart.
        if not any(value == each and type(value) is type(each) for each in allowed):
            expected = " or ".join(shown(each) for each in allowed)
            self.fail(f"{name}: expected {expected}, got {shown(value)}")

    def skip_general(self) -> None:
        """Account for the fields that any model of transformers may have."""
        self.ignore(*_METADATA)
        for name, allowed in _BY_VALUE.items():
            self.only(name, *allowed)

    def ignore(self, *names: str) -> None:
        """Fields that change neither the network nor what its weights mean."""
        self._read.update(names)

    def finish(self) -> None:
        """Refuse what was noted, and what was not read.

        Raises:
            CheckpointError: every problem, with the way past unknown fields.
            InvalidInput: a field that is to be ignored is read, or is not there.
        """
        unknown = {
            name for name in self._values if name not in self._read and not name.startswith("_")
        }
        for name in self._ignored:
            self._check_ignored(name, unknown)
        left = sorted(unknown - {*self._ignored})
        self._problems += [
            f"{name}: an unknown field, with the value {shown(self._values[name])}" for name in left
        ]
        if not self._problems:
            return
        text = report(f"{self.path}: not {self._what} that can be read", self._problems)
        harmless = [name for name in left if name not in _MATTERS]
        if harmless:
            options = cut(" ".join(f"--ignore-field {name}" for name in harmless), 120)
            it = "it does" if len(harmless) == 1 else "they do"
            text += f"\npass {options} if {it} not change what the model computes"
        raise CheckpointError(text)

    def _check_ignored(self, name: str, unknown: Collection[str]) -> None:
        """Refuse to ignore a field that is read, or that the file does not have."""
        option = f"--ignore-field {name}: expected"
        if name not in self._values:
            raise InvalidInput(f"{option} a field of {self.path}, which has none of that name")
        if name in _MATTERS:
            raise InvalidInput(
                f"{option} a field that does not change what the model computes, got one that "
                f"does: this model cannot be read"
            )
        if name not in unknown:
            raise InvalidInput(
                f"{option} an unknown field, got one that ancestral knows: it is read, checked or "
                f"known to change nothing; leave the option out"
            )
