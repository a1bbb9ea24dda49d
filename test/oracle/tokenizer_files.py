"""The PyPI package `tokenizers` as the oracle of tokenizers that Mlx.LM.Tokenizer reads from a `tokenizer.json`.

    tokenizer_files.py encode TOKENIZER.json INPUT   a text in base64 a line -> its ids, what they are decoded to, and what
                                                     without special tokens, these two in base64, and the beginnings and ends
                                                     of the offsets, or `error`
    tokenizer_files.py decode TOKENIZER.json INPUT   ids a line -> what they are decoded to, and what without special tokens, in
                                                     base64
    tokenizer_files.py random SEED COUNT             COUNT random small tokenizers, an object of JSON a line: the file, and
                                                     cases with what becomes of them, or the error
"""

import base64
import json
import random
import sys

from tokenizers import Tokenizer

R = random.Random()


def character_map():
    """A map of characters of SentencePiece: a double array, in which each node has 256 units of its own."""
    entries = {key: value for key, value in REPLACED.items() if R.random() < 0.8}
    blob, values, trie = b"", {}, {}
    for key, value in entries.items():
        values[key], blob = len(blob), blob + value.encode() + b"\0"
        node = trie
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[0] = values[key]
    units = [0] * 256

    def build(node, position):
        base = len(units)
        units.extend([0] * 256)
        units[position] |= (position ^ base) << 10
        for byte, child in node.items():
            if byte == 0:
                units[position] |= 1 << 8
                units[base] = child | 1 << 31
            else:
                units[base ^ byte] = byte
                build(child, base ^ byte)

    build(trie, 0)
    array = b"".join(unit.to_bytes(4, "little") for unit in units)
    return base64.b64encode(len(array).to_bytes(4, "little") + array + blob).decode()


REPLACED = {"A": "a", "É": "E", "é": "e\u0301", "e\u0301": "é", "ß": "ss", "\t": " ", "\u00a0": " ", "カ": "か", "😀": ":)", "한": "", "你好": "hi"}


def bytes_alphabet():
    bs=list(range(33,127))+list(range(0xa1,0xad))+list(range(0xae,0x100)); cs=bs[:]; k=0
    for b in range(256):
        if b not in bs: bs.append(b); cs.append(256+k); k+=1
    return {b:chr(c) for b,c in zip(bs,cs)}
BA=bytes_alphabet()
CH=list("abcdeABÉéßñ 0129!?,.'-_▁Ġ你好世かカ한Дд\t\n")+["\u0301","😀","\u00a0","²"]
def pattern():
    if R.random()<.5: return {"String":R.choice([" ","a","ab","▁","!","é","\u0301"])}
    return {"Regex":R.choice([r"\s+",r"\p{L}+",r"[^\s\p{L}\p{N}]+",r"\d",r"(?i:ab|c)+",r"\w+|[^\w\s]+",r"a*",r"(?<=a)b",r"\b",r"[\p{Lu}\p{Lt}]\p{Ll}*",r" ?[^\s]+|\s+(?!\S)|\s+",r"[a-c&&[^b]]+",r"x?",r"\p{Han}+|\p{P}",r"^.",r".$",r"(a|b){2,3}?",r"[[:alnum:]]" if False else r"[^\r\n\p{L}\p{N}]?\p{L}+",r"\S",r"(?:\p{M}|\p{So})++",r"[\x{4e00}-\x{9fff}]",r"(?=a)",r"\h+",r"\p{^L}+"])}
BEH=["Isolated","Removed","Contiguous","MergedWithPrevious","MergedWithNext"]
def norm(d=0):
    k=R.choice(["NFC","NFD","NFKC","NFKD","Lowercase","Strip","StripAccents","Replace","Prepend","BertNormalizer","Nmt","ByteLevel","Precompiled","Sequence"])
    if k=="Sequence":
        if d>1: return {"type":"NFC"}
        return {"type":k,"normalizers":[norm(d+1) for _ in range(R.randrange(0,4))]}
    o={"type":k}
    if k=="Strip": o.update(strip_left=R.random()<.5,strip_right=R.random()<.5)
    if k=="Replace": o.update(pattern=pattern(),content=R.choice(["","▁"," ","x","ab"]))
    if k=="Precompiled": o.update(precompiled_charsmap=character_map())
    if k=="Prepend": o.update(prepend=R.choice(["▁","x"," "]))
    if k=="BertNormalizer": o.update(clean_text=R.random()<.5,handle_chinese_chars=R.random()<.5,strip_accents=R.choice([None,True,False]),lowercase=R.random()<.5)
    return o
def pre(d=0):
    k=R.choice(["ByteLevel","Split","Split","Whitespace","WhitespaceSplit","Metaspace","BertPreTokenizer","Punctuation","Digits","CharDelimiterSplit","UnicodeScripts","FixedLength","Sequence","Sequence"])
    if k=="Sequence":
        if d>1: return {"type":"Whitespace"}
        return {"type":k,"pretokenizers":[pre(d+1) for _ in range(R.randrange(0,4))]}
    o={"type":k}
    b=lambda: R.random()<.5
    if k=="ByteLevel": o.update(add_prefix_space=b(),trim_offsets=b(),use_regex=b())
    if k=="Split": o.update(pattern=pattern(),behavior=R.choice(BEH),invert=b())
    if k=="Metaspace": o.update(replacement=R.choice("▁_"),prepend_scheme=R.choice(["always","first","never"]),split=b())
    if k=="Punctuation": o.update(behavior=R.choice(BEH))
    if k=="Digits": o.update(individual_digits=b())
    if k=="CharDelimiterSplit": o.update(delimiter=R.choice("ab -"))
    if k=="FixedLength": o.update(length=R.randrange(1,6))
    return o
def dec(d=0):
    k=R.choice(["ByteLevel","Metaspace","WordPiece","BPEDecoder","ByteFallback","Fuse","Strip","Replace","CTC","Sequence","Sequence"])
    if k=="Sequence":
        if d>1: return {"type":"Fuse"}
        return {"type":k,"decoders":[dec(d+1) for _ in range(R.randrange(0,4))]}
    o={"type":k}; b=lambda: R.random()<.5
    if k=="ByteLevel": o.update(add_prefix_space=b(),trim_offsets=b(),use_regex=b())
    if k=="Metaspace": o.update(replacement=R.choice("▁_"),prepend_scheme=R.choice(["always","first","never"]),split=b())
    if k=="WordPiece": o.update(prefix=R.choice(["##","a"]),cleanup=b())
    if k=="BPEDecoder": o.update(suffix=R.choice(["</w>","b"]))
    if k=="Strip": o.update(content=R.choice(" a"),start=R.randrange(0,3),stop=0 if R.random()<.7 else 1)
    if k=="Replace": o.update(pattern=pattern(),content=R.choice([" ","","xy"]))
    if k=="CTC": o.update(pad_token="a",word_delimiter_token="▁",cleanup=b())
    return o
def toks(alpha,n):
    return ["".join(R.choice(alpha) for _ in range(R.randrange(1,4))) for _ in range(n)]
def model():
    k=R.choice(["BPE","BPE","BPE","WordPiece","Unigram","WordLevel"])
    alpha=R.choice([CH, list(BA.values())])
    if k=="BPE":
        prefix=R.choice(["","","##"]); suffix=R.choice(["","","</w>"])
        vocab={}
        def add(t): vocab.setdefault(t,len(vocab))
        add("<unk>")
        base=[c for c in alpha if R.random()<.85]
        for c in base:
            add(c); 
            if prefix: add(prefix+c)
            if suffix: add(c+suffix); 
            if prefix and suffix: add(prefix+c+suffix)
        fb=R.random()<.4
        if fb:
            for i in range(256):
                if R.random()<.99: add("<0x%02X>"%i)
        merges=[]; seen=set()
        keys=list(vocab)
        for _ in range(R.randrange(0,120)):
            a,b=R.choice(keys),R.choice(keys)
            if a.startswith("<") or b.startswith("<") : continue
            if prefix and not b.startswith(prefix): continue
            if suffix and a.endswith(suffix): continue
            m=a+b[len(prefix):]
            if (a,b) in seen: continue
            seen.add((a,b)); merges.append([a,b]); add(m); keys.append(m)
        o={"type":"BPE","dropout":None,"unk_token":R.choice(["<unk>",None]),"continuing_subword_prefix":prefix or None,"end_of_word_suffix":suffix or None,"fuse_unk":R.random()<.5,"byte_fallback":fb,"ignore_merges":R.random()<.3,"vocab":vocab,"merges":merges}
        return o
    if k=="WordPiece":
        vocab={}
        for t in ["[UNK]"]+[c for c in alpha if R.random()<.9]+["##"+c for c in alpha if R.random()<.9]+toks(alpha,40)+["##"+t for t in toks(alpha,40)]: vocab.setdefault(t,len(vocab))
        return {"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":R.choice([100,5,20]),"vocab":vocab}
    if k=="Unigram":
        v=[["<unk>",0.0]]; s={"<unk>"}
        for t in [c for c in alpha if R.random()<.8]+toks(alpha,80):
            if t not in s: s.add(t); v.append([t,-round(R.uniform(1,12),3)])
        fb=R.random()<.4
        if fb:
            for i in range(256): v.append(["<0x%02X>"%i,-12.0])
        return {"type":"Unigram","unk_id":0,"vocab":v,"byte_fallback":fb}
    vocab={}
    for t in ["<unk>"]+[c for c in alpha if R.random()<.8]+toks(alpha,80): vocab.setdefault(t,len(vocab))
    return {"type":"WordLevel","vocab":vocab,"unk_token":"<unk>"}
def post(size):
    k=R.choice([None,"ByteLevel","TemplateProcessing","BertProcessing","RobertaProcessing","Sequence"])
    if k is None: return None
    if k=="ByteLevel": return {"type":k,"add_prefix_space":True,"trim_offsets":True,"use_regex":True}
    if k=="TemplateProcessing":
        single=[{"Sequence":{"id":"A","type_id":0}}]
        if R.random()<.7: single=[{"SpecialToken":{"id":"[B]","type_id":0}}]+single
        if R.random()<.5: single=single+[{"SpecialToken":{"id":"[E]","type_id":0}}]
        return {"type":k,"single":single,"pair":single+[{"Sequence":{"id":"B","type_id":1}}],"special_tokens":{"[B]":{"id":"[B]","ids":[1,2] if R.random()<.3 else [1],"tokens":["x","y"]},"[E]":{"id":"[E]","ids":[2],"tokens":["y"]}}}
    if k=="Sequence": return {"type":k,"processors":[p for p in [R.choice([None,{"type":"ByteLevel","add_prefix_space":True,"trim_offsets":True,"use_regex":True}]),post(size)] if p and p["type"]!="Sequence"]}
    o={"type":k,"sep":["[S]",3],"cls":["[C]",2]}
    if k=="RobertaProcessing": o.update(trim_offsets=True,add_prefix_space=False)
    return o
def added(m):
    l=[]; size=len(m["vocab"])
    names=R.sample(["<s>","</s>","[MASK]","AB","é","b c","<|x|>","▁a","İ","the"],R.randrange(0,5))
    vocab=m["vocab"] if isinstance(m["vocab"],dict) else {t:i for i,(t,_) in enumerate(m["vocab"])}
    nid=size
    for c in names:
        if c in vocab: i=vocab[c]
        else: i=nid; nid+=1
        l.append({"id":i,"content":c,"single_word":R.random()<.25,"lstrip":R.random()<.25,"rstrip":R.random()<.25,"normalized":R.random()<.4,"special":R.random()<.5})
    return l
def text():
    t="".join(R.choice(CH) if R.random()<.85 else R.choice(["<s>","</s>","[MASK]","AB","b c"," <|x|> ","İ","the","ab","<unk>"]) for _ in range(R.randrange(0,30)))
    return t


def attempt(function):
    try:
        return function()
    except BaseException:  # what tokenizers panics with is no Exception
        return None


def case(tokenizer):
    string = text()
    encoding = attempt(lambda: tokenizer.encode(string))
    if encoding is None:
        return {"text": string, "ids": None}
    ids = encoding.ids
    others = [R.choice(list(tokenizer.get_vocab().values())) for _ in range(R.randrange(1, 12))]
    return {
        "text": string,
        "ids": ids,
        "offsets": encoding.offsets,
        "decoded": attempt(lambda: tokenizer.decode(ids, skip_special_tokens=False)),
        "without_special": attempt(lambda: tokenizer.decode(ids, skip_special_tokens=True)),
        "others": others,
        "others_decoded": attempt(lambda: tokenizer.decode(others, skip_special_tokens=False)),
    }


# A token that is normalized to nothing is found everywhere, and of two that are normalized to the same it is left to chance
# which one is found; such tokenizers are left out.
def uncertain(tokenizer, tokens):
    normalizer = tokenizer.normalizer
    written = [token["content"] for token in tokens if token["normalized"]]
    normalized = [normalizer.normalize_str(content) if normalizer else content for content in written]
    return "" in normalized or len(set(normalized)) < len(normalized)


def random_tokenizers(seed, count):
    R.seed(int(seed))
    for _ in range(int(count)):
        chosen = model()
        definition = {
            "version": "1.0",
            "added_tokens": added(chosen),
            "normalizer": norm() if R.random() < 0.7 else None,
            "pre_tokenizer": pre() if R.random() < 0.85 else None,
            "post_processor": post(0),
            "decoder": dec() if R.random() < 0.9 else None,
            "model": chosen,
        }
        source = json.dumps(definition)
        tokenizer = attempt(lambda: Tokenizer.from_str(source))
        if tokenizer is not None and uncertain(tokenizer, definition["added_tokens"]):
            continue
        cases = None if tokenizer is None else [case(tokenizer) for _ in range(12)]
        print(json.dumps({"json": source, "cases": cases}))


def to_line(string):
    return base64.b64encode(string.encode()).decode()


def encode(source, path):
    tokenizer = Tokenizer.from_file(source)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    with open(path) as file:
        for line in file.read().split("\n"):
            encoding = attempt(lambda: tokenizer.encode(base64.b64decode(line).decode()))
            if encoding is None:
                print("error")
            else:
                texts = [tokenizer.decode(encoding.ids, skip_special_tokens=skip) for skip in [False, True]]
                places = [place for offset in encoding.offsets for place in offset]
                print("|".join([" ".join(map(str, encoding.ids)), *map(to_line, texts), " ".join(map(str, places))]))


def decode(source, path):
    tokenizer = Tokenizer.from_file(source)
    with open(path) as file:
        for line in file.read().splitlines():
            ids = [int(word) for word in line.split()]
            print("|".join(to_line(tokenizer.decode(ids, skip_special_tokens=skip)) for skip in [False, True]))


if __name__ == "__main__":
    {"encode": encode, "decode": decode, "random": random_tokenizers}[sys.argv[1]](*sys.argv[2:])
