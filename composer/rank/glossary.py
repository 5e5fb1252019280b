"""What public data sets are about, by their names: where a task has no card, its name is all that is known of it.

A task may have several subjects. The patterns are common knowledge about names that are used in published tables; how
much any of it says about who does well is learned from the history, and may be nothing.
"""

from __future__ import annotations

import re

_SUBJECTS: dict[str, str] = {
    # texts
    "retrieval": r"retrieval|arguana|fever|fiqa|hotpotqa|\bnq\b|msmarco|ms_marco|nfcorpus|scidocs$|scifact|touche|"
    r"trec-?covid|quora|dbpedia|cqadup",
    "reranking": r"rerank|askubuntudup|mindsmall|scidocsrr|stackoverflowdup",
    "similarity": r"\bsts|^sts|stsb|biosses|sick-?r\b|similarity",
    "pairs": r"sprintdup|twittersemeval|twitterurl|mrpc|qqp|paws",
    "summary": r"summ(ary|ari|eval)|xsum|cnn_?dailymail",
    "clustering": r"cluster",
    "classification": r"classification",
    "sentiment": r"sentiment|imdb|amazon_?-?(review|polarity)|rotten|\bsst|sst2|sst_?5|yelp|phrasebank|movie",
    "emotion": r"emotion|isear|hate|irony|offensive|toxic|stance",
    "intent": r"intent|domain|banking|massive|mtop|clinc|snips|\batis|trec_(coarse|fine)|scenario",
    "topics": r"news|yahoo|dbpedia|topic|agnews",
    "inference": r"nli|\brte\b|\bcb\b|boolq|multirc|\bwic\b|\bcopa\b|\bwsc\b",
    "grammar": r"cola\b|linguistic|acceptab",
    "science": r"arxiv|biorxiv|medrxiv|\bsci|scifact|scidocs|covid|nfcorpus|pubmed|chem",
    "forum": r"stack|ubuntu|cqadup|reddit|forum|dupquestion",
    "tweets": r"tweet|twitter",
    "code": r"code|python|javascript|github",
    "entities": r"\bner\b|conll|entit|\bpos\b|ontonotes",
    # images
    "imagenet": r"imagenet|objectnet",
    "objects": r"caltech|cifar|\bstl|\bvoc\b|pascal|\bcoco\b|imagenet(-| )?1k|^imagenet$",
    "fine-grained": r"\bcars?\b|stanford.?cars|aircraft|flower|\bpets?\b|iiit|\bfood|bird|\bcub|\bdogs?\b|inat|nabirds",
    "scenes": r"\bsun|places|country|scene|indoor|dollar|geode|street",
    "satellite": r"eurosat|resisc|fmow|ucmerced|satellite|so2sat|patternnet|\baid\b",
    "medical": r"pcam|camelyon|retinopathy|derma|isic|chest|pathology|\bblood|medical|histo|x-?ray|cancer|tumou?r",
    "symbols": r"mnist|svhn|gtsrb|digit|rendered|traffic.?sign|omniglot|ocr",
    "geometry": r"clevr|kitti|dsprites|norb|dmlab|count|distance|orientation|azimuth|elevation|depth|\bpose",
    "captions": r"flickr|coco|winogavil|caption|vqa",
    "texture": r"dtd|textur|material|minc|kth",
    "wild": r"iwildcam|wilds|camera.?trap|animal|species|plant|fungi|insect",
    "sketches": r"sketch|clipart|drawing|quickdraw|cartoon|painting|domainnet|\bart",
    # sounds
    "speech": r"speech|command|librispeech|spoken|voice|vox|asr|keyword|phone",
    "speakers": r"speaker|voxceleb|libricount",
    "sounds": r"esc-?50|urbansound|fsd|audioset|environment|gunshot|vocal.?imitation|dcase",
    "music": r"music|gtzan|nsynth|mridangam|beijing.?opera|maestro|pitch|tonic|stroke|genre|instrument|\bfma\b",
    "voices' emotion": r"crema|ravdess|iemocap|emodb",
    "animals": r"watkins|bat|frog|cow|whale|beehive|mosquito|dog_?bark",
    "languages": r"voxlingua|language.?id|\blid\b|fleurs",
    # tables
    "credit": r"credit|bank|loan|churn|adult|income",
    "health": r"diabet|heart|breast|cancer|liver|kidney|stroke",
}
_COMPILED = {subject: re.compile(pattern) for subject, pattern in _SUBJECTS.items()}


def subjects(name: str) -> frozenset[str]:
    """What a task of this name is likely about; empty where the name says nothing known."""
    plain = name.lower()
    spaced = re.sub(r"[_/@.]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)).lower()
    return frozenset(s for s, pattern in _COMPILED.items() if pattern.search(plain) or pattern.search(spaced))
