"""Docstrings say what is there: parameters, defaults and attributes, as numpydoc."""

# License: BSD-3-Clause

import importlib
import inspect
import re

import numpy as np
import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc
from numpydoc.validate import validate
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.utils._param_validation import StrOptions

from skbss import (
    ILRMA,
    ISTFT,
    STFT,
    WPE,
    AlignChannels,
    AuxIVA,
    BlockBatch,
    CrosstalkCanceller,
    EachRecording,
    FullRankRefine,
    LoudestFirst,
    LoudestSources,
    MaskSeparator,
    NoiseReducer,
    OnlineAuxIVA,
    OnlineILRMA,
    OnlineISNMF,
    OnlineSeparator,
    OnlineWPE,
    ProjectionBack,
    RemixNoisyBins,
    ResampleChannels,
    SortFrequencies,
    SoundPipeline,
    TargetFirst,
    WindowSearch,
)

MODULES = ["skbss"] + [
    f"skbss.{name}"
    for name in (
        *("benchmark", "callbacks", "datasets", "inspection", "metrics", "separators"),
        *("transforms", "updates"),
    )
]


def public_objects():
    """Public classes and functions with the shortest name of each."""
    names = {}
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            names.setdefault(getattr(module, name), f"{module.__name__}.{name}")
    return {name: thing for thing, name in names.items()}


def public_methods(cls):
    """Public methods and properties that this package defines."""
    for name in dir(cls):
        member = inspect.getattr_static(cls, name)
        function = getattr(member, "fget", member)
        module = getattr(inspect.unwrap(function), "__module__", None) or ""
        if not name.startswith("_") and module.startswith("skbss"):
            yield name, function


OBJECTS = public_objects()
CLASSES = {name: thing for name, thing in OBJECTS.items() if inspect.isclass(thing)}
ESTIMATORS = {n: c for n, c in CLASSES.items() if issubclass(c, BaseEstimator)}
METHODS = [f"{n}.{m}" for n, c in CLASSES.items() for m, _ in public_methods(c)]

IGNORED = {
    "ES01",  # a summary that says all needs no extension
    "RT02",  # returned values have names, as in scikit-learn
    "SA01",  # "See Also" is for names that a reader may confuse or need next
}
IGNORED_IN_METHODS = IGNORED | {"EX01"}  # the class has the example
# Parts of separators, and the record between steps: AuxIVA and STFT show their use.
WITHOUT_EXAMPLE = ("skbss.updates.", "skbss.Spectrogram", "skbss.RecordingWarning")
# Methods of one protocol are documented where it is introduced, and refer to there.
REFERENCE = "; see `"


OWN = ("self", "cls")


def is_protocol(thing):
    return getattr(thing, "_is_protocol", False)


def is_called(thing):
    """Whether users make one themselves: no exception, and no protocol."""
    is_exception = inspect.isclass(thing) and issubclass(thing, Exception)
    return not (is_exception or is_protocol(thing))


def errors(name, ignored):
    return [error for error in validate(name)["errors"] if error[0] not in ignored]


@pytest.mark.parametrize("name", OBJECTS)
def test_classes_and_functions(name):
    ignored = IGNORED_IN_METHODS if name.startswith(WITHOUT_EXAMPLE) else IGNORED
    ignored = ignored | ({"PR01"} if is_protocol(OBJECTS[name]) else set())
    assert errors(name, ignored) == []


@pytest.mark.parametrize("name", METHODS)
def test_methods(name):
    result = validate(name)
    if REFERENCE in result["docstring"]:
        target = result["docstring"].split(REFERENCE)[1].split("`")[0]
        module = name.rsplit(".", 2)[0]
        documented = f"{module}.{target}"
        assert REFERENCE not in validate(documented)["docstring"]
        return
    assert errors(name, IGNORED_IN_METHODS) == []


def functions(name):
    """Functions that a public name stands for, by their own names."""
    thing = OBJECTS[name]
    if not inspect.isclass(thing):
        return {name: inspect.unwrap(thing)}
    found = {m: inspect.unwrap(f) for m, f in public_methods(thing) if callable(f)}
    own = "__init__" in vars(thing) and is_called(thing)
    return found | ({"__init__": thing.__init__} if own else {})


@pytest.mark.parametrize("name", OBJECTS)
def test_signatures_are_annotated(name):
    """Since `py.typed` says so."""
    for method, function in functions(name).items():
        function = getattr(function, "__func__", function)
        if not inspect.isfunction(function):
            continue
        signature = inspect.signature(function)
        parameters = [p for n, p in signature.parameters.items() if n not in OWN]
        missing = [p.name for p in parameters if p.annotation is p.empty]
        assert missing == [], method
        if method != "__init__":
            assert signature.return_annotation is not signature.empty, method


@pytest.mark.parametrize("name", OBJECTS)
def test_defaults(name):
    """What is documented as the default is the default."""
    thing = OBJECTS[name]
    if not is_called(thing):
        assert "Parameters" not in thing.__doc__
        return
    doc = ClassDoc(thing) if inspect.isclass(thing) else FunctionDoc(thing)
    documented = {p.name.lstrip("*"): p.type for p in doc["Parameters"]}
    for parameter in inspect.signature(thing).parameters.values():
        if parameter.default is inspect.Parameter.empty:
            assert "default" not in documented[parameter.name]
        else:
            value = documented[parameter.name].split("default=")[1]
            assert eval(value, {}) == parameter.default, parameter.name


@pytest.fixture(scope="module")
def fitted():
    """One fitted instance of every estimator."""
    rng = np.random.default_rng(0)
    x = rng.laplace(size=(600, 2))
    record = STFT(32).fit_transform(x)
    mono = STFT(32).fit_transform(x[:, :1])
    separated = AuxIVA(max_iter=2).fit_transform(record)
    whole, first = (
        make_pipeline(
            STFT(32), AuxIVA(max_iter=2, n_sources=n), ProjectionBack(), ISTFT()
        )
        for n in (None, 1)
    )
    return {
        STFT: STFT(32).fit(x),
        ISTFT: ISTFT().fit(record),
        ProjectionBack: ProjectionBack().fit(separated),
        SortFrequencies: SortFrequencies().fit(separated),
        CrosstalkCanceller: CrosstalkCanceller().fit(separated),
        NoiseReducer: NoiseReducer().fit(separated),
        RemixNoisyBins: RemixNoisyBins().fit(separated),
        WPE: WPE().fit(record),
        OnlineWPE: OnlineWPE().fit(record),
        MaskSeparator: MaskSeparator(max_iter=2).fit(record),
        FullRankRefine: FullRankRefine(1, max_iter=2).fit(record),
        AlignChannels: AlignChannels().fit(x),
        ResampleChannels: ResampleChannels().fit(x),
        LoudestFirst: LoudestFirst().fit(x),
        TargetFirst: TargetFirst(0, 100, sample_rate=1).fit(x),
        LoudestSources: LoudestSources(1, whole, first).fit(x),
        WindowSearch: WindowSearch(whole).fit(x),
        AuxIVA: AuxIVA(max_iter=2).fit(record),
        ILRMA: ILRMA(max_iter=2, init_iter=2).fit(record),
        BlockBatch: BlockBatch(whole).fit(x),
        EachRecording: EachRecording(STFT(32)).fit([x]),
        OnlineAuxIVA: OnlineAuxIVA().fit(record),
        OnlineILRMA: OnlineILRMA().fit(record),
        OnlineISNMF: OnlineISNMF().fit(mono),
        OnlineSeparator: OnlineSeparator().fit(x),
    }


PARTS = {c for n, c in ESTIMATORS.items() if n.startswith("skbss.updates")}
PARTS.add(SoundPipeline)  # has the attributes of scikit-learn's Pipeline
every_estimator = pytest.mark.parametrize(
    "cls", [c for c in ESTIMATORS.values() if c not in PARTS], ids=lambda c: c.__name__
)
# Set if the input has the names of its channels, as a data frame has.
NAMED = (
    *(AlignChannels, ResampleChannels, STFT, LoudestFirst, TargetFirst),
    *(LoudestSources, WindowSearch),
)
CONDITIONAL = {c: {"feature_names_in_"} for c in NAMED}


def learned(estimator):
    """Public attributes that fit has set, properties too."""
    names = {name for name in dir(estimator) if name.endswith("_")}
    return {n for n in names if not n.startswith("_") and hasattr(estimator, n)}


@every_estimator
def test_attributes(cls, fitted):
    """Every attribute that is set is documented, and the other way round."""
    documented = {p.name for p in ClassDoc(cls)["Attributes"] if p.name.endswith("_")}
    assert learned(fitted[cls]) == documented - CONDITIONAL.get(cls, set())


@every_estimator
def test_what_fit_sets_has_an_underscore(cls, fitted):
    estimator = fitted[cls]
    public = {name for name in vars(estimator) if not name.startswith("_")}
    assert public - set(estimator.get_params(deep=False)) == {
        name for name in public if name.endswith("_")
    }


@every_estimator
def test_every_parameter_is_validated(cls):
    """By scikit-learn, when fit is called."""
    assert set(cls._parameter_constraints) == set(inspect.signature(cls).parameters)


@every_estimator
def test_every_option_is_documented(cls):
    documented = {p.name: p.type for p in ClassDoc(cls)["Parameters"]}
    for name, constraints in cls._parameter_constraints.items():
        for options in constraints:
            if isinstance(options, StrOptions):
                listed = re.findall(
                    r"['\"](\w+)['\"]", documented[name].split("default=")[0]
                )
                assert set(listed) == options.options, name
