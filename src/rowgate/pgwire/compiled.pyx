# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The byte loops of the protocol, as a compiler makes them: messages cut, rows written as JSON, parameters bound.

Each function here has a counterpart in Python (``stream``, ``rows``, ``messages``) that gives the same bytes; tests hold
the two to each other. What is out of the ordinary (a row that does not fit, a value that is not of its type, bytes that
are not UTF-8) is left to the counterpart: ``None`` says so. So errors are made in one place, and no rule of what is
accepted stands here alone. Never makes a Python object for a cell, and never reads a byte that did not come.

Source: the Postgres documentation, section "Message Formats"; RFC 8259 (JSON); RFC 3629 (UTF-8).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.string cimport memcmp, memcpy, memset

cdef enum:
    HEADER_BYTES = 5
    DATA_ROW = 0x44
    MOST_COLUMNS = 1664  # PostgreSQL's own bound (MaxTupleAttributeNumber)
    MOST_DIMENSIONS = 6  # and this one (MAXDIM)

# What a column's text becomes. TEXT is escaped; the rest is copied once it has been found to be what it should be.
cdef enum Kind:
    TEXT = 0
    INTEGER = 1
    FLOAT = 2
    TRUTH = 3
    DOCUMENT = 4

cdef const unsigned char* HEX = b"0123456789abcdef"


cdef inline Py_ssize_t _length(const unsigned char* at) noexcept nogil:
    """A signed big-endian Int32."""
    return <int>((<unsigned int>at[0] << 24) | (<unsigned int>at[1] << 16) | (<unsigned int>at[2] << 8) | at[3])


# --- framing --------------------------------------------------------------------------------------------------


def cut(bytes data not None, Py_ssize_t position, Py_ssize_t limit, list messages not None, bint group_rows):
    """Appends the complete messages from ``position`` on; gives where it stopped, and never goes past a bad length.

    With ``group_rows`` neighbouring DataRow messages are one entry, whole, as they came.
    """
    cdef const unsigned char* start = <const unsigned char*>PyBytes_AS_STRING(data)
    cdef Py_ssize_t total = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t length, first
    cdef unsigned char kind
    while total - position >= HEADER_BYTES:
        length = _length(start + position + 1)
        if length < 4 or length > limit or length > total - position - 1:
            break
        kind = start[position]
        if group_rows and kind == DATA_ROW:
            first = position
            while True:
                position += length + 1
                if total - position < HEADER_BYTES or start[position] != DATA_ROW:
                    break
                length = _length(start + position + 1)
                if length < 4 or length > limit or length > total - position - 1:
                    break
            messages.append((DATA_ROW, PyBytes_FromStringAndSize(<const char*>start + first, position - first)))
        else:
            messages.append((
                kind, PyBytes_FromStringAndSize(<const char*>start + position + HEADER_BYTES, length - 4)
            ))
            position += length + 1
    return position


def count_messages(bytes region not None):
    """How many messages a region of whole messages holds."""
    cdef const unsigned char* start = <const unsigned char*>PyBytes_AS_STRING(region)
    cdef Py_ssize_t total = PyBytes_GET_SIZE(region)
    cdef Py_ssize_t position = 0, count = 0, length
    while total - position >= HEADER_BYTES:
        length = _length(start + position + 1)
        if length < 4:
            break
        position += length + 1
        count += 1
    return count


# --- parameters -----------------------------------------------------------------------------------------------


def bind_to(bytes head not None, parameters, Py_ssize_t most):
    """The whole Bind message; None where it would be longer than ``most`` bytes."""
    cdef Py_ssize_t total = PyBytes_GET_SIZE(head) + 2
    cdef Py_ssize_t size
    cdef tuple values = parameters if type(parameters) is tuple else tuple(parameters)
    for value in values:
        total += 4
        if value is not None:
            total += PyBytes_GET_SIZE(<bytes?>value)
    if total > most - 4:
        return None
    cdef bytes message = PyBytes_FromStringAndSize(NULL, total + HEADER_BYTES)
    cdef unsigned char* at = <unsigned char*>PyBytes_AS_STRING(message)
    at[0] = c"B"
    at = _put_length(at + 1, total + 4)
    size = PyBytes_GET_SIZE(head)
    memcpy(at, PyBytes_AS_STRING(head), size)
    at += size
    for value in values:
        if value is None:
            at = _put_length(at, -1)
        else:
            size = PyBytes_GET_SIZE(<bytes>value)
            at = _put_length(at, size)
            memcpy(at, PyBytes_AS_STRING(<bytes>value), size)
            at += size
    at[0] = at[1] = 0
    return message


cdef inline unsigned char* _put_length(unsigned char* at, Py_ssize_t length) noexcept nogil:
    cdef unsigned int number = <unsigned int>length
    at[0] = number >> 24
    at[1] = (number >> 16) & 0xFF
    at[2] = (number >> 8) & 0xFF
    at[3] = number & 0xFF
    return at + 4


# --- rows -----------------------------------------------------------------------------------------------------


cdef class RowWriter:
    """Writes regions of DataRow messages as JSON. Made once for a row description and an output mode.

    ``kinds`` has a ``Kind`` for each column of the row, for an array that of its elements and their delimiter in the upper
    byte; ``order`` the columns that are written, in order; ``heads`` what
    stands ahead of each written value (``{"id":``), ``tail`` what ends a row. Raises ValueError for more than 1,664
    columns.
    """

    cdef Py_ssize_t width, written
    cdef unsigned short* kinds
    cdef unsigned short* order
    cdef tuple heads
    cdef bytes tail
    cdef Py_ssize_t fixed  # bytes of a row that are not values

    def __cinit__(self, kinds, order, heads, bytes tail not None):
        self.width, self.written = len(kinds), len(order)
        if self.width > MOST_COLUMNS or self.written != len(heads) or self.written > self.width:
            raise ValueError("a row has at most 1,664 columns, and each that is written has one head")
        self.kinds = <unsigned short*>PyMem_Malloc((self.width + self.written + 1) * sizeof(unsigned short))
        if self.kinds == NULL:
            raise MemoryError()
        self.order = self.kinds + self.width
        for position, kind in enumerate(kinds):
            self.kinds[position] = kind
        for position, column in enumerate(order):
            if not 0 <= column < self.width:
                raise ValueError("no such column")
            self.order[position] = column
        self.heads = tuple(heads)
        self.tail = tail
        self.fixed = sum(map(len, heads)) + len(tail) + 1
        for head in self.heads:
            if type(head) is not bytes:
                raise ValueError("a head is bytes")

    def __dealloc__(self):
        PyMem_Free(self.kinds)

    def write(self, regions, bint lines):
        """The rows with a comma between each two, or with a line feed behind each; None where Python must decide."""
        cdef Buffer out
        cdef bytes region
        cdef bint first = True
        out.data = NULL
        out.size = out.room = 0
        try:
            for region in regions:
                if not self._write_region(&out, region, lines, &first):
                    return None
            return PyBytes_FromStringAndSize(<const char*>out.data, out.size) if out.size else b""
        finally:
            PyMem_Free(out.data)

    cdef bint _write_region(self, Buffer* out, bytes region, bint lines, bint* first) except -1:
        cdef const unsigned char* at = <const unsigned char*>PyBytes_AS_STRING(region)
        cdef const unsigned char* end = at + PyBytes_GET_SIZE(region)
        cdef Py_ssize_t length
        # Most results are little longer as JSON than as they came; what is not makes room by itself.
        _reserve(out, (end - at) * 5 // 4 + self.fixed)
        while at < end:
            if end - at < HEADER_BYTES or at[0] != DATA_ROW:
                return False
            length = _length(at + 1)
            if length < 6 or length > end - at - 1:
                return False
            if not lines and not first[0]:
                _put_byte(out, c",")
            first[0] = False
            if not self._write_row(out, at + HEADER_BYTES, at + 1 + length, lines):
                return False
            if lines:
                _put_byte(out, c"\n")
            at += length + 1
        return True

    cdef bint _write_row(self, Buffer* out, const unsigned char* at, const unsigned char* end, bint line) except -1:
        cdef const unsigned char* cells[MOST_COLUMNS]
        cdef int lengths[MOST_COLUMNS]
        cdef Py_ssize_t position, length, column
        cdef bytes head
        if ((at[0] << 8) | at[1]) != self.width:
            return False
        at += 2
        for position in range(self.width):
            if end - at < 4:
                return False
            length = _length(at)
            at += 4
            if length < -1 or length > end - at:
                return False
            cells[position] = at
            lengths[position] = <int>length
            if length > 0:
                at += length
        if at != end:
            return False
        for position in range(self.written):
            column = self.order[position]
            head = <bytes>self.heads[position]
            # A head, and any value but a text: as long as it came, or null, or in quotes.
            _reserve(out, PyBytes_GET_SIZE(head) + (lengths[column] if lengths[column] > 0 else 0) + 8)
            memcpy(out.data + out.size, PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head))
            out.size += PyBytes_GET_SIZE(head)
            if lengths[column] < 0:
                memcpy(out.data + out.size, b"null", 4)
                out.size += 4
            elif self.kinds[column] > 0xFF:
                if not _write_array(
                    out, cells[column], lengths[column], self.kinds[column] & 0xFF, self.kinds[column] >> 8, line
                ):
                    return False
            elif not _write_value(out, cells[column], lengths[column], <unsigned char>self.kinds[column], line):
                return False
        head = self.tail
        _reserve(out, PyBytes_GET_SIZE(head) + 2)
        memcpy(out.data + out.size, PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head))
        out.size += PyBytes_GET_SIZE(head)
        return True


cdef struct Buffer:
    unsigned char* data
    Py_ssize_t size
    Py_ssize_t room


cdef inline int _reserve(Buffer* out, Py_ssize_t more) except -1:
    if out.room - out.size < more:
        _grow(out, more)
    return 0


cdef int _grow(Buffer* out, Py_ssize_t more) except -1:
    cdef Py_ssize_t room = out.room + out.room // 2
    if room < out.size + more:
        room = out.size + more
    cdef unsigned char* data = <unsigned char*>PyMem_Realloc(out.data, room)
    if data == NULL:
        raise MemoryError()
    out.data, out.room = data, room
    return 0


cdef inline int _put_byte(Buffer* out, unsigned char byte) except -1:
    _reserve(out, 1)
    out.data[out.size] = byte
    out.size += 1
    return 0


cdef inline bint _write_value(
    Buffer* out, const unsigned char* cell, Py_ssize_t length, unsigned char kind, bint line
) except -1:
    cdef Py_ssize_t position
    if kind == TEXT:
        return _write_text(out, cell, length)
    if kind == TRUTH:
        if length != 1 or (cell[0] != c"t" and cell[0] != c"f"):
            return False
        if cell[0] == c"t":
            memcpy(out.data + out.size, b"true", 4)
            out.size += 4
        else:
            memcpy(out.data + out.size, b"false", 5)
            out.size += 5
        return True
    if kind == FLOAT and not _is_number(cell, length):
        if not _is_not_finite(cell, length):
            return False
        return _write_text(out, cell, length)
    if kind == INTEGER and not _is_int32(cell, length):
        return False
    if kind == DOCUMENT and (length == 0 or not _is_utf8(cell, length)):
        return False
    memcpy(out.data + out.size, cell, length)
    if line and kind == DOCUMENT:  # a line break in a document is white space; in its strings there is none
        for position in range(out.size, out.size + length):
            if out.data[position] == c"\n" or out.data[position] == c"\r":
                out.data[position] = c" "
    out.size += length
    return True


cdef bint _write_array(
    Buffer* out, const unsigned char* cell, Py_ssize_t length, unsigned char kind, unsigned char delimiter, bint line
) except -1:
    """Nested JSON lists of what array_out writes, the same as ``literals.array_values``; bounds are left to Python."""
    cdef unsigned char holds[MOST_DIMENSIONS + 1]  # of each open list: 0 nothing yet, 1 lists, 2 elements
    cdef Py_ssize_t position = 0, first, depth = 0
    cdef bint expects_value = True
    cdef unsigned char byte
    if length == 2 and cell[0] == c"{" and cell[1] == c"}":
        _reserve(out, 2)
        memcpy(out.data + out.size, b"[]", 2)
        out.size += 2
        return True
    holds[0] = 0
    while position < length:
        byte = cell[position]
        if byte == delimiter or byte == c"}":
            if expects_value:
                return False
            position += 1
            if byte == delimiter:
                expects_value = True
                _put_byte(out, c",")
                continue
            _put_byte(out, c"]")
            depth -= 1
            if depth == 0:
                return position == length
            continue
        if not expects_value or (depth == 0 and byte != c"{"):
            return False
        if byte == c"{":
            if depth == MOST_DIMENSIONS or holds[depth] == 2:
                return False
            holds[depth] = 1
            depth += 1
            holds[depth] = 0
            position += 1
            _put_byte(out, c"[")
            continue
        if holds[depth] == 1:
            return False
        holds[depth] = 2
        expects_value = False
        if byte == c'"':
            position = _write_quoted(out, cell, length, position + 1, kind, line)
            if position < 0:
                return False
            continue
        first = position
        while position < length:
            byte = cell[position]
            if byte == delimiter or byte == c"{" or byte == c"}" or byte == c'"' or byte == c"\\":
                break
            position += 1
        if position == first:
            return False
        _reserve(out, position - first + 8)
        if position - first == 4 and memcmp(cell + first, b"NULL", 4) == 0:
            memcpy(out.data + out.size, b"null", 4)
            out.size += 4
        elif not _write_value(out, cell + first, position - first, kind, line):
            return False
    return False


cdef Py_ssize_t _write_quoted(
    Buffer* out, const unsigned char* cell, Py_ssize_t length, Py_ssize_t position, unsigned char kind, bint line
) except -2:
    """An element in quotes from ``position`` on; gives where what follows it begins, -1 where it is not one."""
    cdef Py_ssize_t first = position, size
    cdef bint escaped = False, written
    cdef unsigned char* plain
    while position < length and cell[position] != c'"':
        if cell[position] == c"\\":
            escaped = True
            position += 1
        position += 1
    if position >= length:
        return -1
    _reserve(out, position - first + 8)
    if not escaped:
        written = _write_value(out, cell + first, position - first, kind, line)
        return position + 1 if written else -1
    plain = <unsigned char*>PyMem_Malloc(position - first)
    if plain == NULL:
        raise MemoryError()
    try:
        size = 0
        while first < position:
            if cell[first] == c"\\":
                first += 1
            plain[size] = cell[first]
            size += 1
            first += 1
        written = _write_value(out, plain, size, kind, line)
    finally:
        PyMem_Free(plain)
    return position + 1 if written else -1


cdef bint _is_int32(const unsigned char* cell, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t position = 0
    cdef long long number = 0
    cdef bint negative = length > 0 and cell[0] == c"-"
    if negative:
        position = 1
    if length - position < 1 or length - position > 10 or (cell[position] == c"0" and length > 1):
        return False
    while position < length:
        if cell[position] < c"0" or cell[position] > c"9":
            return False
        number = number * 10 + (cell[position] - 48)
        position += 1
    if negative:
        return number <= 2147483648LL
    return number <= 2147483647LL


cdef bint _is_number(const unsigned char* cell, Py_ssize_t length) noexcept nogil:
    """RFC 8259, section 6."""
    cdef Py_ssize_t position = 0, first
    if position < length and cell[position] == c"-":
        position += 1
    first = position
    while position < length and c"0" <= cell[position] <= c"9":
        position += 1
    if position == first or (cell[first] == c"0" and position - first > 1):
        return False
    if position < length and cell[position] == c".":
        position += 1
        first = position
        while position < length and c"0" <= cell[position] <= c"9":
            position += 1
        if position == first:
            return False
    if position < length and (cell[position] == c"e" or cell[position] == c"E"):
        position += 1
        if position < length and (cell[position] == c"+" or cell[position] == c"-"):
            position += 1
        first = position
        while position < length and c"0" <= cell[position] <= c"9":
            position += 1
        if position == first:
            return False
    return position == length


cdef bint _is_not_finite(const unsigned char* cell, Py_ssize_t length) noexcept nogil:
    if length == 3:
        return memcmp(cell, b"NaN", 3) == 0
    if length == 8:
        return memcmp(cell, b"Infinity", 8) == 0
    return length == 9 and memcmp(cell, b"-Infinity", 9) == 0


cdef bint _write_text(Buffer* out, const unsigned char* cell, Py_ssize_t length) except -1:
    """A JSON string; False where the bytes are not UTF-8."""
    cdef Py_ssize_t position = 0, plain, step
    cdef unsigned char byte
    cdef unsigned char* at
    _reserve(out, length + 2)
    out.data[out.size] = c'"'
    out.size += 1
    while True:
        plain = position
        while position < length:
            byte = cell[position]
            if byte < 0x20 or byte == c'"' or byte == c"\\":
                break
            if byte < 0x80:
                position += 1
                continue
            step = _sequence(cell + position, length - position)
            if step == 0:
                return False
            position += step
        # For what is left as it is, the next escape and the closing quote.
        _reserve(out, length - plain + 8)
        memcpy(out.data + out.size, cell + plain, position - plain)
        out.size += position - plain
        if position == length:
            break
        byte = cell[position]
        position += 1
        at = out.data + out.size
        at[0] = c"\\"
        out.size += 2
        if byte == c'"' or byte == c"\\":
            at[1] = byte
        elif byte == c"\n":
            at[1] = c"n"
        elif byte == c"\r":
            at[1] = c"r"
        elif byte == c"\t":
            at[1] = c"t"
        elif byte == 8:
            at[1] = c"b"
        elif byte == 12:
            at[1] = c"f"
        else:
            at[1] = c"u"
            at[2] = at[3] = c"0"
            at[4] = HEX[byte >> 4]
            at[5] = HEX[byte & 15]
            out.size += 4
    out.data[out.size] = c'"'
    out.size += 1
    return True


cdef bint _is_utf8(const unsigned char* cell, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t position = 0, step
    while position < length:
        if cell[position] < 0x80:
            position += 1
            continue
        step = _sequence(cell + position, length - position)
        if step == 0:
            return False
        position += step
    return True


cdef Py_ssize_t _sequence(const unsigned char* at, Py_ssize_t left) noexcept nogil:
    """How long the sequence is that begins with a byte from 0x80 on; 0 where it is none (RFC 3629, section 4)."""
    cdef unsigned char lead = at[0]
    cdef unsigned char low = 0x80, high = 0xBF
    if lead < 0xC2 or lead > 0xF4 or left < 2:
        return 0
    if lead < 0xE0:
        return 2 if 0x80 <= at[1] <= 0xBF else 0
    if lead == 0xE0:
        low = 0xA0
    elif lead == 0xED:
        high = 0x9F
    elif lead == 0xF0:
        low = 0x90
    elif lead == 0xF4:
        high = 0x8F
    if not low <= at[1] <= high or left < 3 or not 0x80 <= at[2] <= 0xBF:
        return 0
    if lead < 0xF0:
        return 3
    return 4 if left > 3 and 0x80 <= at[3] <= 0xBF else 0


# --- columns --------------------------------------------------------------------------------------------------


def column_buffers(regions, Py_ssize_t width):
    """The cells of each column, one after the other, as Arrow's buffers; None where a row does not fit.

    Gives the number of rows, and for each column a bit for each row that is not NULL, the 32-bit offsets where cells begin
    and end, and the cells' bytes.
    """
    cdef Py_ssize_t rows = 0, position, size
    cdef Py_ssize_t sizes[MOST_COLUMNS]
    cdef Columns columns
    if width > MOST_COLUMNS:
        return None
    for position in range(width):
        sizes[position] = 0
    for region in regions:
        if not _measure(<bytes?>region, width, sizes, &rows):
            return None
    buffers = []
    for position in range(width):
        if sizes[position] > 0x7FFFFFFF:
            return None
        validity = PyBytes_FromStringAndSize(NULL, (rows + 7) // 8)
        offsets = PyBytes_FromStringAndSize(NULL, (rows + 1) * 4)
        cells = PyBytes_FromStringAndSize(NULL, sizes[position])
        memset(PyBytes_AS_STRING(validity), 0, (rows + 7) // 8)
        memset(PyBytes_AS_STRING(offsets), 0, 4)
        columns.validity[position] = <unsigned char*>PyBytes_AS_STRING(validity)
        columns.offsets[position] = <int*>PyBytes_AS_STRING(offsets)
        columns.cells[position] = <unsigned char*>PyBytes_AS_STRING(cells)
        buffers.append((validity, offsets, cells))
    size = 0
    for region in regions:
        size = _fill(<bytes>region, width, &columns, size)
    return rows, buffers


cdef struct Columns:
    unsigned char* validity[MOST_COLUMNS]
    int* offsets[MOST_COLUMNS]
    unsigned char* cells[MOST_COLUMNS]


cdef bint _measure(bytes region, Py_ssize_t width, Py_ssize_t* sizes, Py_ssize_t* rows) except -1:
    cdef const unsigned char* at = <const unsigned char*>PyBytes_AS_STRING(region)
    cdef const unsigned char* end = at + PyBytes_GET_SIZE(region)
    cdef const unsigned char* row_end
    cdef Py_ssize_t position, length
    while at < end:
        if end - at < HEADER_BYTES + 2 or at[0] != DATA_ROW:
            return False
        length = _length(at + 1)
        if length < 6 or length > end - at - 1 or ((at[5] << 8) | at[6]) != width:
            return False
        row_end = at + 1 + length
        at += HEADER_BYTES + 2
        for position in range(width):
            if row_end - at < 4:
                return False
            length = _length(at)
            at += 4
            if length < -1 or length > row_end - at:
                return False
            if length > 0:
                sizes[position] += length
                at += length
        if at != row_end:
            return False
        rows[0] += 1
    return True


cdef Py_ssize_t _fill(bytes region, Py_ssize_t width, Columns* columns, Py_ssize_t row) except -1:
    """Copies what ``_measure`` has found sound, from row number ``row`` on; gives the number of the next."""
    cdef const unsigned char* at = <const unsigned char*>PyBytes_AS_STRING(region)
    cdef const unsigned char* end = at + PyBytes_GET_SIZE(region)
    cdef Py_ssize_t position, length
    cdef int* offset
    while at < end:
        at += HEADER_BYTES + 2
        for position in range(width):
            length = _length(at)
            at += 4
            offset = columns.offsets[position] + row
            offset[1] = offset[0]
            if length >= 0:
                columns.validity[position][row >> 3] |= 1 << (row & 7)
                memcpy(columns.cells[position] + offset[0], at, length)
                offset[1] += <int>length
                at += length
        row += 1
    return row


# --- answers --------------------------------------------------------------------------------------------------


def read_answer(bytes data not None, Py_ssize_t position):
    """The answer to an exchange of known statements that all succeed, if it is whole: most answers are.

    That is BindComplete, rows and CommandComplete for each statement, then ReadyForQuery. Gives where it ends, for each
    statement its region of rows (b"" for none) and its command tag, and the transaction's status; None for anything else,
    which is then read message by message.
    """
    cdef const unsigned char* start = <const unsigned char*>PyBytes_AS_STRING(data)
    cdef Py_ssize_t total = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t length, rows
    cdef list parts = []
    while total - position >= HEADER_BYTES:
        if start[position] == c"Z":
            if total - position < 6 or _length(start + position + 1) != 5 or not parts:
                return None
            return position + 6, parts, start[position + 5]
        if start[position] != c"2" or _length(start + position + 1) != 4:
            return None
        position += HEADER_BYTES
        rows = position
        while total - position >= HEADER_BYTES and start[position] == DATA_ROW:
            length = _length(start + position + 1)
            if length < 4 or length > total - position - 1:
                return None
            position += length + 1
        if total - position < HEADER_BYTES or start[position] != c"C":
            return None
        length = _length(start + position + 1)
        if length < 4 or length > total - position - 1:
            return None
        parts.append((
            PyBytes_FromStringAndSize(<const char*>start + rows, position - rows),
            PyBytes_FromStringAndSize(<const char*>start + position + HEADER_BYTES, length - 4),
        ))
        position += length + 1
    return None
