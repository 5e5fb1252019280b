"""Port types: what flows along an edge of a composition, as a value, a text and an order.

    type   := modality "." level "[" axis ("," axis)* "]" ":" dtype [ "@" space ] [ "{" key "=" value ("," ...)* "}" ]
    axis   := NAME [ ":" dim ]
    dim    := INT | SYMBOL | SYMBOL op INT | INT "*" SYMBOL          op := "*" | "/" | "+" | "-"

    text.tokens[B,T,D:384]:f32@bert/layer_3/8f2c1d90aa14b3e7      image.pixels[B,C:3,H:224,W:224]:f32{norm=imagenet}

`p <= c` (`is_subtype`): a value of type p can be used where c is wanted. An axis without a dim is free: any length
fits. Symbols stand for one unknown length within one signature; `rename_symbols` makes two signatures' symbols distinct
and `unify` solves them along an edge. Nothing here needs torch or numpy.
"""

from priors._port_type import ATTRIBUTES as ATTRIBUTES
from priors._port_type import AXES as AXES
from priors._port_type import DTYPES as DTYPES
from priors._port_type import INFORMATIVE as INFORMATIVE
from priors._port_type import LEVELS as LEVELS
from priors._port_type import MAX_DIM as MAX_DIM
from priors._port_type import Axis as Axis
from priors._port_type import Dim as Dim
from priors._port_type import PortType as PortType
from priors._port_type import Sym as Sym
from priors._type_reader import MAX_TEXT as MAX_TEXT
from priors._type_reader import parse as parse
from priors._unify import Bindings as Bindings
from priors._unify import is_subtype as is_subtype
from priors._unify import rename_symbols as rename_symbols
from priors._unify import resolve as resolve
from priors._unify import substitute as substitute
from priors._unify import unify as unify
from priors._unify import widens as widens
