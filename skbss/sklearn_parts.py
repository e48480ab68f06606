"""The private names of scikit-learn that are used here, and nowhere else by name.

scikit-learn documents how to write an estimator, but not all that its own ones use.
These names have been there, with the same meaning, in the versions from `TESTED`; when
a new version moves one, this is the file to change. ``make lowest`` tests the first of
them, and ``make test`` the newest.
"""

# License: BSD-3-Clause

from sklearn.base import _fit_context as _fit_context
from sklearn.callback._callback_support import (
    callback_management_context as callback_management_context,
)
from sklearn.utils._optional_dependencies import (
    check_matplotlib_support as check_matplotlib_support,
)
from sklearn.utils._param_validation import HasMethods as HasMethods
from sklearn.utils._param_validation import Interval as Interval
from sklearn.utils._param_validation import Options as Options
from sklearn.utils._param_validation import StrOptions as StrOptions
from sklearn.utils._param_validation import make_constraint as make_constraint
from sklearn.utils._param_validation import (
    validate_parameter_constraints as validate_parameter_constraints,
)
from sklearn.utils._param_validation import validate_params as validate_params

TESTED = ("1.9.0", "1.9.1")
