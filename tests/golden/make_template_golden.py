"""Makes templates.json beside this file: conversations as transformers' apply_chat_template writes and tokenizes them, with the mask of
what the assistant says.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install transformers==5.24.0 trl==1.16.0 jinja2
    /tmp/venv/bin/python tests/golden/make_template_golden.py

The templates of Llama 3, Qwen2.5 and Qwen3 (instruct, without thinking) are the models' own, as TRL 1.16.0 carries them
(trl/chat_templates/*.jinja); ChatML's is the one of transformers' documentation. For the mask the same templates are rendered with
{% generation %} around an assistant's text and the token that ends it, and must give the same text. (TRL's own training variant of
Qwen2.5 marks the newlines around them too, which no model needs to learn.) The tokenizers are tests/data/tiny-tokenizers/.
tests/datasets/test_template.c holds lockstep's templates against the file.
"""
import json
import pathlib
import re

import transformers
import trl
from transformers import PreTrainedTokenizerFast

PINNED = "1.16.0"
assert trl.__version__ == PINNED, f"TRL {trl.__version__}; the file names {PINNED}"
HERE = pathlib.Path(__file__).resolve().parent
JINJA = pathlib.Path(trl.__file__).parent / "chat_templates"
TINY = HERE.parent / "data" / "tiny-tokenizers"
CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def marked(text, what, put):
    assert what in text, what
    return text.replace(what, put)


CHATML_MARKED = ("{% for message in messages %}{% if message['role'] == 'assistant' %}{{'<|im_start|>assistant\\n'}}{% generation %}"
                 "{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}{% else %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "
                 "'<|im_end|>' + '\\n'}}{% endif %}{% endfor %}")
qwen = (JINJA / "qwen2_5.jinja").read_text()
qwen3 = (JINJA / "qwen3_instruct_2507.jinja").read_text()
llama = (JINJA / "llama3.jinja").read_text()


def split_assistant(template):
    """Qwen's branch for user, system and assistant texts, with the assistant's text marked."""
    assistant = ("{%- if message.role == 'assistant' and not message.tool_calls %}{{- '<|im_start|>assistant\\n' }}{%- generation %}"
                 "{{- message.content + '<|im_end|>' }}{%- endgeneration %}{{- '\\n' }}")
    first = re.search(r"\{%- if \(message\.role == \"user\"\)", template)
    assert first, "the template has another form than expected"
    return template[:first.start()] + assistant + "{%- elif" + template[first.start() + len("{%- if"):]


TEMPLATES = {
    "chatml": (CHATML, CHATML_MARKED, "qwen2-style/tiny_bpe_tokenizer.json", {}),
    "qwen": (qwen, split_assistant(qwen), "qwen2-style/tiny_bpe_tokenizer.json", {}),
    "qwen-3": (qwen3, split_assistant(qwen3), "qwen2-style/tiny_bpe_tokenizer.json", {}),
    "llama-3": (llama, (JINJA / "llama3_training.jinja").read_text(), "llama3-style/tokenizer.json",
                {"bos_token": "<|begin_of_text|>", "additional_special_tokens": ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]}),
}


def m(role, content):
    return {"role": role, "content": content}


CASES = [
    [m("user", "What is it?"), m("assistant", "It is a test.")],
    [m("system", "You are terse."), m("user", "Name two numbers"), m("assistant", "one, two")],
    [m("user", "one"), m("assistant", "two"), m("user", "three"), m("assistant", "four\nfive"), m("user", "six"), m("assistant", "seven")],
    [m("user", "a"), m("user", "again"), m("assistant", "first"), m("assistant", "second")],
    [m("user", "  spaces before\n\nand after  \n"), m("assistant", "code:\n\n    x = 1\n")],
    [m("user", "it's"), m("assistant", "I'm 1234 - and so on...")],
    [m("system", "s"), m("user", "an open question")],
    [m("user", "blank in front"), m("assistant", "\n  an answer")],
    [m("user", "call it"), m("assistant", "calling"), m("tool", "result 1"), m("tool", "result 2"), m("assistant", "done"), m("user", "thanks")],
    [m("user", "say nothing"), m("assistant", ""), m("user", "now speak"), m("assistant", "so")],
]


def case(name, tokenizer, template, with_mask, conversation):
    open_end = conversation[-1]["role"] != "assistant"
    text = tokenizer.apply_chat_template(conversation, chat_template=template, tokenize=False, add_generation_prompt=open_end)
    special = set(tokenizer.all_special_tokens)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    shown = [t if (t := tokenizer.convert_ids_to_tokens(i)) in special else i for i in ids]
    found = tokenizer.apply_chat_template(conversation, chat_template=with_mask, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    again = tokenizer.apply_chat_template(conversation, chat_template=with_mask, tokenize=False)
    head = tokenizer.apply_chat_template(conversation, chat_template=template, tokenize=False)
    assert again == head, (name, again, head)
    mask = found["assistant_masks"] + [0] * (len(ids) - len(found["assistant_masks"]))
    assert list(found["input_ids"]) == ids[:len(found["input_ids"])], name
    # An assistant's text is encoded apart from what stands before it, since generation begins there: with a blank in front, HF's tokens span both.
    apart = all(not t["content"][:1].isspace() for t in conversation if t["role"] == "assistant") or name == "llama-3"
    return {"template": name, "messages": conversation, "prompt": open_end, "text": text, "ids": shown if apart else None, "mask": mask if apart else None}


rows = []
for name, (template, with_mask, path, specials) in TEMPLATES.items():
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(TINY / path))
    tokenizer.add_special_tokens(specials or {"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    rows += [case(name, tokenizer, template, with_mask, c) for c in CASES]
golden = {"made_by": f"tests/golden/make_template_golden.py, transformers {transformers.__version__}, TRL {trl.__version__}", "rows": rows}
path = HERE / "templates.json"
path.write_text(json.dumps(golden, separators=(",", ":"), ensure_ascii=True).replace('{"template"', '\n{"template"') + "\n")
print(path, path.stat().st_size, "bytes,", len(rows), "rows")
