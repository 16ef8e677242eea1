"""ELAN: annotation documents (.eaf), of which each tier is a layer."""

import logging
import xml.etree.ElementTree as ET
from bisect import bisect_left

from kinema.errors import UserError
from kinema.prepare.labels.export import Annotation, Export, parse_xml

log = logging.getLogger(__name__)

_EXPECTED = "an annotation document of ELAN (.eaf)"


def read_elan(text: bytes, source: str) -> Export:
    """Read a document.

    Times of the document are those of its first video, whose `TIME_ORIGIN` is added. Time slots without a value are
    spread evenly between those around them, as ELAN shows them. Annotations that refer to another one have its time.
    Annotations without text are left out.
    """
    root = parse_xml(text, source, _EXPECTED)
    if root.tag != "ANNOTATION_DOCUMENT":
        raise UserError(f"'{source}' is an XML file of <{root.tag}>; expected {_EXPECTED}")
    export = Export(source)
    video, origin = _video(root, export)
    slots = _slots(root, export)
    spans, empty = _spans(root, slots, export), 0
    for tier in root.iter("TIER"):
        layer = tier.get("TIER_ID", "")
        for element in _annotations(tier):
            name = element.get("ANNOTATION_ID", "?")
            where = f"annotation {name} of tier '{layer}'"
            label = (element.findtext("ANNOTATION_VALUE") or "").strip()
            span = _span_of(name, spans)
            if not label:
                empty += 1
            elif span is None:
                export.fault(where, "its time slots, or the annotation that it refers to, are not in the document")
            else:
                start, end = (round((one + origin) / 1000, 6) for one in span)
                export.annotations.append(
                    Annotation(video=video, label=label, where=where, start=start, end=end, layer=layer)
                )
    if empty:
        log.warning("%s: %d annotations without text are left out", source, empty)
    return export


def _video(root: ET.Element, export: Export) -> tuple[str, float]:
    """Return the first video, and the time in it at which the document begins, in milliseconds."""
    header = root.find("HEADER")
    if header is None:
        export.fault("HEADER", "there is none")
        return "", 0.0
    units = header.get("TIME_UNITS", "milliseconds")
    if units != "milliseconds":
        export.fault("HEADER", f"TIME_UNITS is {units!r}; expected 'milliseconds'")
    media = header.findall("MEDIA_DESCRIPTOR")
    chosen = next((one for one in media if one.get("MIME_TYPE", "").startswith("video")), media[0] if media else None)
    if chosen is None:
        return header.get("MEDIA_FILE", ""), 0.0
    origin = export.number(chosen.get("TIME_ORIGIN", "0"), "MEDIA_DESCRIPTOR", "TIME_ORIGIN") or 0.0
    names = (chosen.get("RELATIVE_MEDIA_URL"), chosen.get("MEDIA_URL"), header.get("MEDIA_FILE"))
    return next((name for name in names if name), ""), origin


def _slots(root: ET.Element, export: Export) -> dict[str, float]:
    """Return the time slots in milliseconds."""
    names, known = list[str](), dict[int, float]()
    for number, slot in enumerate(root.iter("TIME_SLOT")):
        names.append(slot.get("TIME_SLOT_ID", ""))
        if (text := slot.get("TIME_VALUE")) is not None:
            value = export.number(text, f"time slot {names[-1]}", "TIME_VALUE")
            known[number] = value or 0.0
    aligned = sorted(known)
    if not aligned:
        return {}
    times = dict[str, float]()
    for number, name in enumerate(names):
        after = bisect_left(aligned, number)
        before, following = aligned[max(after - 1, 0)], aligned[min(after, len(aligned) - 1)]
        share = 0.0 if following <= before else (number - before) / (following - before)
        times[name] = known[number] if number in known else known[before] + share * (known[following] - known[before])
    return times


_Spans = dict[str, tuple[float, float] | str]
"""Milliseconds of annotations; or the annotation that they refer to."""


def _spans(root: ET.Element, slots: dict[str, float], export: Export) -> _Spans:
    spans: _Spans = {}
    for element in _annotations(root):
        name = element.get("ANNOTATION_ID", "?")
        if element.tag == "REF_ANNOTATION":
            spans[name] = element.get("ANNOTATION_REF", "")
            continue
        ends = [element.get(f"TIME_SLOT_REF{number}", "") for number in (1, 2)]
        if all(end in slots for end in ends):
            spans[name] = slots[ends[0]], slots[ends[1]]
            if slots[ends[0]] > slots[ends[1]]:
                export.fault(f"annotation {name}", f"time slot {ends[0]} is later than {ends[1]}")
    return spans


def _span_of(name: str, spans: _Spans) -> tuple[float, float] | None:
    """Return the milliseconds of an annotation, through those that it refers to."""
    span = spans.get(name)
    for _ in spans:
        if not isinstance(span, str):
            break
        span = spans.get(span)
    return None if isinstance(span, str) else span


def _annotations(element: ET.Element) -> list[ET.Element]:
    return [one for one in element.iter() if one.tag in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION")]
