"""Writes a GGUF file in another form: llama_cpp_quantize.py SOURCE TARGET FORM."""

import sys

import llama_cpp

_FORMS = {
    "F16": llama_cpp.LLAMA_FTYPE_MOSTLY_F16,
    "Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0,
    "Q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0,
}


def main(source: str, target: str, form: str) -> int:
    """The exit code: llama.cpp's, 0 for success."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = _FORMS[form]
    params.allow_requantize = True
    return int(llama_cpp.llama_model_quantize(source.encode(), target.encode(), params))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
