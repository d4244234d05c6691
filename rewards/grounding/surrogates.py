"""List the words of perceptual features, and match phrases that reason about a text in place of the sound.

`FEATURES` names the seven families of the MGRD criterion (Step-Audio-R1, arXiv 2511.15848); `SURROGATE` matches
the textual surrogates.
"""

from __future__ import annotations

import re

FEATURES: dict[str, frozenset[str]] = {
    name: frozenset(words.split())
    for name, words in {
        "pitch": "pitch pitched pitches f0 fundamental frequency hz intonation melody melodic contour octave semitone "
        "semitones rising falling ascending descending monotone bass treble vibrato glissando deep",
        "timbre": "timbre timbral bright brighter brightness dark darker dull muffled metallic nasal harsh warm mellow "
        "harmonics harmonic overtones formant formants centroid spectral spectrum resonance resonant raspy breathy creaky "
        "hollow buzzing buzzy shrill tonal tone",
        "loudness": "loud louder loudest loudness quiet quieter soft softer volume amplitude level levels db dbfs decibels "
        "intensity crescendo decrescendo diminuendo dynamics faint fades energy envelope",
        "tempo": "tempo bpm fast faster fastest slow slower slowest pace rapid rate speed speeds quick brisk",
        "rhythm": "rhythm rhythmic beat beats pulse pulses onset onsets periodic regular irregular syncopated burst bursts "
        "repeating repeated staccato duration durations long longer short shorter lasts pause pauses gap gaps brief",
        "space": "reverb reverberant reverberation echo echoes echoing distant distance close-up ambience ambient stereo "
        "spatial dry room roomy hall far-off",
        "noise": "noise noisy hiss hissing crackle crackling crackles static background hum humming rumble rumbling "
        "broadband silence silent distortion distorted clipping click clicks unpitched",
    }.items()
}
"""Family of perceptual features -> its words."""

_TEXT_NOUNS = (
    r"(?:lyrics?|transcripts?|transcriptions?|captions?|subtitles?|text|texts|wording|script|written words|title"
    r"|file ?name|metadata|(?:text|textual|written) (?:description|content|form)|description|article|passage|paragraph)"
)
_SAYING_VERBS = (
    r"(?:say|says|said|mention|mentions|mentioned|state|states|stated|describe|describes|described|read|reads|indicate"
    r"|indicates|indicated|suggest|suggests|suggested|tell|tells|imply|implies|contain|contains|note|notes|reveal"
    r"|reveals|refer|refers|speak|speaks|talk|talks|show|shows|provide|provides|give|gives|specify|specifies)"
)
SURROGATE = re.compile(
    rf"\b{_TEXT_NOUNS}(?: (?:of|in|for) the \w+)?(?: (?:itself|above|clearly|also|explicitly|here|only))? {_SAYING_VERBS}\b"
    rf"|\b(?:according to|based on|judging (?:by|from)|going by|from|in|per|reading|from reading) (?:the|its|their|this|these)"
    rf"(?: \w+)? ?{_TEXT_NOUNS}\b"
    rf"|\b(?:as|is|are|was) (?:written|transcribed|stated|described|mentioned) (?:in|by)\b"
    rf"|\bthe (?:words|sentence|sentences|phrase|phrases|lines?|content of the words) (?:themselves )?{_SAYING_VERBS}\b"
    rf"|\bthe (?:word choice|choice of words|vocabulary|semantic content|meaning of the words)\b"
)
"""Pattern of a phrase that reasons from a text."""
NEGATION = re.compile(
    r"\b(?:not|n't|no|never|without|rather than|instead of|ignor\w+|regardless of|cannot)\b[^.;!?,]{0,40}$"
)
"""Pattern of the text before a surrogate phrase that the chain rejects: "I do not rely on …"."""
