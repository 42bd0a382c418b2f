"""What tests of looks measure in a page: colours, contrast, what lies under an element."""

from __future__ import annotations

# The contrast of two colours, as WCAG 2.2 defines it; `ground` is the first background under an element that is not
# transparent. Colours are read back from a canvas, so that every notation counts.
MEASURE = """
const pixel = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const read = (colour) => {
    pixel.clearRect(0, 0, 1, 1);
    pixel.fillStyle = colour;
    pixel.fillRect(0, 0, 1, 1);
    return [...pixel.getImageData(0, 0, 1, 1).data];
};
const light = ([r, g, b]) => [r, g, b].map(part => part / 255)
    .map(part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)
    .reduce((sum, part, at) => sum + part * [.2126, .7152, .0722][at], 0);
const contrast = (one, other) => {
    const [dark, bright] = [light(read(one)), light(read(other))].sort((a, b) => a - b);
    return (bright + .05) / (dark + .05);
};
const ground = (element) => {
    for (let at = element; at; at = at.parentElement)
        if (read(getComputedStyle(at).backgroundColor)[3] === 255) return getComputedStyle(at).backgroundColor;
    return "white";
};
const banner = document.querySelector("#consent-mw"), all = (selector) => [...banner.querySelectorAll(selector)];
"""
