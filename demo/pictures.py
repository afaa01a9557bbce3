"""Pictures of packs: flat drawings of their goods before a gift box, one hue a merchant. Drawn by us, as SVG."""

RED, GOLD, PAPER = "#B3261E", "#C8963E", "#FBF6EC"


def _c(hue: int, saturation: int = 45, light: int = 55) -> str:
    return f"hsl({hue} {saturation}% {light}%)"


# Each glyph stands on y=0 with its middle at x=0, about 60 wide and 120 high at the most.
GLYPHS = {
    "bottle": '<path d="M-8-120h16v26q14 12 14 30v58q0 6-6 6h-32q-6 0-6-6v-58q0-18 14-30z" fill="{a}"/>'
    '<rect x="-22" y="-58" width="44" height="34" fill="#fff" opacity=".85"/><circle cy="-41" r="9" fill="{g}"/>',
    "can": '<rect x="-22" y="-80" width="44" height="80" rx="7" fill="{a}"/><path d="M-22-58h44v36h-44z" fill="#fff"'
    ' opacity=".85"/><rect x="-18" y="-84" width="36" height="6" rx="3" fill="#b9bec4"/><circle cy="-40" r="10" fill="{r}"/>',
    "water": '<path d="M-9-112h18v14q10 6 10 18v74q0 6-6 6h-26q-6 0-6-6v-74q0-12 10-18z" fill="#cfe6ee"/>'
    '<rect x="-9" y="-118" width="18" height="10" rx="3" fill="{a}"/><path d="M-19-64h38v28h-38z" fill="{a}" opacity=".8"/>',
    "carton": '<path d="M-24-84l10-18h28l10 18v84h-48z" fill="#fff" stroke="#e3d9c6"/><path d="M-24-54h48v34h-48z" fill="{a}"/>'
    '<circle cy="-37" r="11" fill="{g}"/>',
    "jar": '<rect x="-26" y="-62" width="52" height="62" rx="10" fill="{g}" opacity=".85"/><rect x="-22" y="-76" width="44"'
    ' height="16" rx="4" fill="{r}"/><rect x="-18" y="-46" width="36" height="28" rx="3" fill="#fff" opacity=".9"/>',
    "tin": '<rect x="-26" y="-82" width="52" height="82" rx="8" fill="{a}"/><rect x="-28" y="-90" width="56" height="18" rx="6"'
    ' fill="{d}"/><path d="M-12-30q12-30 24 0q-12 14-24 0z" fill="#e9f0d8"/>',
    "oil": '<path d="M-12-112h22v16q20 8 20 30v60q0 6-6 6h-48q-6 0-6-6v-60q0-22 18-30z" fill="#e6b23c"/><rect x="-14" y="-120"'
    ' width="26" height="14" rx="3" fill="{r}"/><rect x="-28" y="-56" width="56" height="34" fill="#fff" opacity=".9"/>'
    '<path d="M0-50q10 12 0 20q-10-8 0-20z" fill="#7d8f3a"/>',
    "sack": '<path d="M-32-82q32 8 64 0q10 40 4 76q-36 12-72 0q-6-36 4-76z" fill="#f1e6cf" stroke="#dcc9a3"/>'
    '<path d="M-26-90q26 8 52 0l-6 10q-20 6-40 0z" fill="{a}"/><circle cy="-40" r="20" fill="{r}"/>'
    '<path d="M-9-40h18M0-50v20" stroke="#fbe7b2" stroke-width="5"/>',
    "box": '<rect x="-34" y="-58" width="68" height="58" rx="4" fill="{a}"/><path d="M-34-58h68v16h-68z" fill="{d}"/>'
    '<circle cy="-22" r="13" fill="#fff" opacity=".9"/><circle cy="-22" r="7" fill="{g}"/>',
    "nuts": '<path d="M-28-70h56l-5 66q-23 8-46 0z" fill="{a}"/><path d="M-28-70h56l-1 12h-54z" fill="{d}"/>'
    '<g fill="#c99a5b"><circle cx="-10" cy="-30" r="9"/><circle cx="9" cy="-34" r="9"/><circle cy="-17" r="9"/></g>',
    "fish": '<path d="M-44-26q30-34 64-4l22-16q-4 20 0 38l-22-14q-34 28-64-4z" fill="#8fa9b8"/><circle cx="-26" cy="-28" r="4"'
    ' fill="#233"/><path d="M-8-40q10 14 0 30" stroke="#6d8796" fill="none" stroke-width="3"/>',
    "prawn": '<path d="M-34-14q0-48 44-44q26 4 26 28q-14-14-30-10q-22 6-10 26q-16 14-30 0z" fill="#e8805a"/>'
    '<circle cx="20" cy="-46" r="4" fill="#311"/><path d="M30-54q16-10 22-26" stroke="#e8805a" fill="none" stroke-width="3"/>',
    "shell": '<path d="M0-4q-46-14-40-40q40-40 80 0q6 26-40 40z" fill="#efc9a8"/><path d="M0-4l-22-52M0-4v-62M0-4l22-52"'
    ' stroke="#d79f74" stroke-width="3"/>',
    "greens": '<rect x="-28" y="-74" width="56" height="74" rx="6" fill="{a}"/><path d="M-14-14q-8-24 6-46M0-14q2-24 8-44M12-14q6'
    '-16 4-34" stroke="#21513e" stroke-width="6" fill="none" stroke-linecap="round"/>',
    "noodles": '<g stroke="#ecd9a5" stroke-width="6"><path d="M-20 0v-90M-10 0v-94M0 0v-95M10 0v-94M20 0v-90"/></g>'
    '<rect x="-27" y="-60" width="54" height="26" rx="4" fill="{r}"/>',
    "sauce": '<path d="M-8-104h16v24q14 8 14 24v50q0 6-6 6h-32q-6 0-6-6v-50q0-16 14-24z" fill="#4a2c22"/><rect x="-9" y="-112"'
    ' width="18" height="12" rx="3" fill="{r}"/><rect x="-22" y="-48" width="44" height="30" fill="#f6ecd6"/>',
    "jujube": '<path d="M-28-66h56l-4 62q-24 8-48 0z" fill="#f6ecd6" stroke="#dcc9a3"/><g fill="#a5342c"><ellipse cx="-11" cy="-30"'
    ' rx="8" ry="11"/><ellipse cx="9" cy="-34" rx="8" ry="11"/><ellipse cy="-15" rx="8" ry="11"/></g>',
    "detergent": '<path d="M-26-70q0-16 18-18v-10h22v10q16 4 16 20v62q0 6-6 6h-44q-6 0-6-6z" fill="{a}"/><rect x="-10" y="-112"'
    ' width="26" height="16" rx="4" fill="{d}"/><rect x="-18" y="-58" width="38" height="36" rx="6" fill="#fff" opacity=".9"/>'
    '<circle cx="1" cy="-40" r="10" fill="{a}"/>',
    "tissue": '<rect x="-40" y="-46" width="80" height="46" rx="6" fill="{a}"/><path d="M-16-46q4-26 16-18q10-14 16 18z" fill="#fff"'
    ' stroke="#e3e3e3"/><path d="M-40-24h80" stroke="#fff" stroke-width="4" opacity=".6"/>',
    "soap": '<rect x="-32" y="-34" width="64" height="34" rx="14" fill="#f2d5cf"/><rect x="-20" y="-25" width="40" height="16" rx="8"'
    ' fill="#e5b3a9"/><circle cx="30" cy="-44" r="6" fill="#dbeaf2"/><circle cx="20" cy="-54" r="4" fill="#dbeaf2"/>',
    "towel": '<rect x="-38" y="-26" width="76" height="26" rx="12" fill="{a}"/><rect x="-36" y="-50" width="72" height="26" rx="12"'
    ' fill="#f3e2d0"/><rect x="-34" y="-73" width="68" height="25" rx="12" fill="{d}"/>',
    "bedding": '<rect x="-46" y="-30" width="92" height="30" rx="10" fill="{a}"/><rect x="-42" y="-56" width="84" height="28" rx="10"'
    ' fill="#f7e9d8"/><rect x="-30" y="-76" width="60" height="24" rx="12" fill="#fff" stroke="#e3d9c6"/>'
    '<path d="M-6-30h12v30h-12z" fill="{r}"/>',
    "thermos": '<rect x="-18" y="-96" width="36" height="96" rx="10" fill="{d}"/><rect x="-15" y="-118" width="30" height="26" rx="7"'
    ' fill="#c9ced3"/><path d="M-18-60h36" stroke="{g}" stroke-width="5"/>',
    "pan": '<ellipse cy="-16" rx="46" ry="16" fill="#3d4044"/><ellipse cy="-21" rx="38" ry="10" fill="#585c61"/>'
    '<rect x="40" y="-24" width="46" height="9" rx="4" fill="{r}"/>',
    "pastry": '<rect x="-40" y="-22" width="80" height="22" rx="5" fill="{r}"/><g fill="#e2b36a"><circle cx="-22" cy="-34" r="15"/>'
    '<circle cx="10" cy="-36" r="16"/><circle cx="28" cy="-30" r="12"/></g><g fill="{r}"><circle cx="-22" cy="-36" r="4"/>'
    '<circle cx="10" cy="-38" r="4"/></g>',
    "candy": '<path d="M-26-64h52l-3 60q-23 8-46 0z" fill="#f7e1e0"/><g fill="{r}"><path d="M-16-36l-8-8v16zM16-36l8-8v16z"/>'
    '<circle cy="-36" r="14"/></g><path d="M-8-42q8 6 16 0" stroke="#fff" stroke-width="3" fill="none"/>',
    "mushroom": '<path d="M-9-6q-2-20 0-28h18q2 14 0 28z" fill="#f0e2cb"/><path d="M-36-32q6-34 36-34t36 34q-36 10-72 0z" fill="#8a5a3a"/>'
    '<g fill="#b98a66"><circle cx="-12" cy="-46" r="5"/><circle cx="10" cy="-50" r="4"/></g>',
    "fruit": '<g><circle cx="-20" cy="-22" r="21" fill="{a}"/><circle cx="20" cy="-22" r="21" fill="{d}"/><circle cy="-50" r="21"'
    ' fill="{a}"/></g><path d="M0-70q4-12 14-14" stroke="#5b4a2c" stroke-width="4" fill="none"/>',
    "ham": '<path d="M-34-20q-6-50 34-54q40-2 34 40q-8 32-40 30q-24 0-28-16z" fill="#b4543f"/><path d="M-20-26q0-30 26-34" '
    'stroke="#e9b7a0" stroke-width="7" fill="none" stroke-linecap="round"/><circle cx="26" cy="-70" r="9" fill="#f4ead8"/>',
    "chilli": '<path d="M-30-60q8 44 52 56q-12-6-18-30q-6-26-18-32z" fill="#c2332b"/><path d="M-8-66q14 38 50 42q-14-8-20-26q-6-16'
    '-16-20z" fill="#d9493b"/><path d="M-26-60q2-14 14-12" stroke="#46703b" stroke-width="6" fill="none"/>',
}


def _glyph(name: str, hue: int, x: float, y: float, scale: float) -> str:
    colours = {"a": _c(hue), "d": _c(hue, 48, 38), "r": RED, "g": GOLD}
    body = GLYPHS[name]
    for key, colour in colours.items():
        body = body.replace("{" + key + "}", colour)
    return f'<g transform="translate({x:g} {y:g}) scale({scale:g})">{body}</g>'


def pack_picture(glyphs: list[str], counts: list[int], hue: int, tier_fen: int) -> str:
    """Return a pack's picture: its goods before a gift box with a ribbon; a bigger tier has a bigger box."""
    box_w = 190 + tier_fen // 300
    left, top = 240 - box_w / 2, 128
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 480 360"><rect width="480" height="360" fill="{PAPER}"/>'
        f'<circle cx="240" cy="170" r="168" fill="{_c(hue, 48, 90)}"/>'
        f'<ellipse cx="240" cy="322" rx="205" ry="17" fill="{_c(hue, 22, 80)}"/>',
        f'<rect x="{left:g}" y="{top}" width="{box_w:g}" height="176" rx="10" fill="{RED}"/>'
        f'<rect x="{left - 10:g}" y="{top - 20}" width="{box_w + 20:g}" height="38" rx="8" fill="#9C1F18"/>'
        f'<rect x="226" y="{top - 20}" width="28" height="196" fill="{GOLD}"/>'
        f'<path d="M240 {top - 20}q-58-50-66-14q4 24 66 14q62 10 66-14q-8-36-66 14z" fill="{GOLD}"/>'
        f'<circle cx="240" cy="{top - 22}" r="10" fill="#A87728"/>',
    ]
    shown = [glyph for glyph, count in zip(glyphs, counts, strict=True) for _ in range(min(count, 2))][:7]
    shown = shown if len(shown) >= 3 else (shown * 3)[:3]
    middle = (len(shown) - 1) / 2
    step = min(74, 390 / max(len(shown), 1))
    order = sorted(range(len(shown)), key=lambda index: -abs(index - middle))
    for rank, index in enumerate(order):
        near = rank >= len(shown) // 2
        x, y = 240 + (index - middle) * step, 326 if near else 312
        parts.append(_glyph(shown[index], hue, x, y, 1.14 if near else 1.0))
    return "".join(parts) + "</svg>\n"


def merchant_picture(glyph: str, hue: int) -> str:
    """Return a merchant's emblem: what it is known for, in a round field."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 160"><rect width="160" height="160" rx="28" fill="{PAPER}"/>'
        f'<circle cx="80" cy="80" r="66" fill="{_c(hue, 48, 88)}"/><circle cx="80" cy="80" r="66" fill="none" stroke="{GOLD}"'
        f' stroke-width="4"/>{_glyph(glyph, hue, 80, 128, 0.86)}</svg>\n'
    )
