# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Avro bodies straight to frozen Structs and back, in one pass, every constraint checked.

Four stages read and write each packet, so this is the hottest code of the project. Schema and model
together become a tree of nodes (`pipeline.packets.compiled`); a node reads its bytes and returns
the value, or appends the bytes of a value. There is no dict and no second pass in between.

A node only ever says yes. On anything unusual, bytes cut short, a number out of range, an int where
a float belongs, an array in several blocks, it raises `Refused`, and the caller goes the careful
way (`pipeline.packets.codec`), which takes the value after all or says what is wrong with it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_CheckExact, PyDict_Next, PyDict_Size
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact, PyFloat_FromDouble
from cpython.long cimport PyLong_AsLongLong, PyLong_CheckExact, PyLong_FromLongLong
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_Check, PyUnicode_DecodeUTF8, PyUnicode_GET_LENGTH
from libc.string cimport memcpy

from enum import IntEnum

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    object PyObject_Call(object function, object arguments, PyObject* names)


class Refused(ValueError):
    """A value that this module leaves to the careful way."""


cdef struct Source:
    const unsigned char* at
    const unsigned char* end


cdef struct Sink:
    char* data
    Py_ssize_t size
    Py_ssize_t room


cdef Py_ssize_t FIRST_ROOM = 1024


cdef int refuse() except -1:
    raise Refused


cdef int make_room(Sink* sink, Py_ssize_t more) except -1:
    cdef Py_ssize_t room = sink.room
    cdef char* data
    while room < sink.size + more:
        room *= 2
    data = <char*>PyMem_Realloc(sink.data, room)
    if data == NULL:
        raise MemoryError
    sink.data = data
    sink.room = room
    return 0


cdef inline int put(Sink* sink, const char* data, Py_ssize_t size) except -1:
    if sink.size + size > sink.room:
        make_room(sink, size)
    memcpy(sink.data + sink.size, data, size)
    sink.size += size
    return 0


cdef inline int put_byte(Sink* sink, unsigned char byte) except -1:
    if sink.size + 1 > sink.room:
        make_room(sink, 1)
    sink.data[sink.size] = <char>byte
    sink.size += 1
    return 0


cdef inline int put_long(Sink* sink, long long number) except -1:
    cdef unsigned long long bits = (<unsigned long long>number << 1) ^ <unsigned long long>(number >> 63)
    if sink.size + 10 > sink.room:
        make_room(sink, 10)
    while bits >= 0x80:
        sink.data[sink.size] = <char>(bits & 0x7F | 0x80)
        sink.size += 1
        bits >>= 7
    sink.data[sink.size] = <char>bits
    sink.size += 1
    return 0


cdef inline int take_long(Source* source, long long* found) except -1:
    cdef unsigned long long bits = 0
    cdef int shift = 0
    cdef unsigned char byte
    while source.at < source.end:
        byte = source.at[0]
        source.at += 1
        if shift == 63 and byte > 1:
            refuse()
        bits |= <unsigned long long>(byte & 0x7F) << shift
        if byte < 0x80:
            found[0] = <long long>(bits >> 1) ^ -<long long>(bits & 1)
            return 0
        shift += 7
        if shift > 63:
            refuse()
    return refuse()


cdef inline int take_size(Source* source, Py_ssize_t* found) except -1:
    """Take a length or count; one beyond the bytes that are left is refused."""
    cdef long long size
    take_long(source, &size)
    if size < 0 or size > source.end - source.at:
        refuse()
    found[0] = <Py_ssize_t>size
    return 0


cdef inline double take_double(Source* source) except? -1.0:
    cdef double number
    if source.end - source.at < 8:
        refuse()
    memcpy(&number, source.at, 8)
    source.at += 8
    return number


cdef class Node:
    """What reads and writes one value."""

    cdef object read(self, Source* source):
        raise NotImplementedError

    cdef int write(self, Sink* sink, object value) except -1:
        raise NotImplementedError


cdef class Long(Node):
    """An integer from `least` to `most`."""

    cdef long long least, most

    def __init__(self, least, most):
        self.least = least
        self.most = most

    cdef object read(self, Source* source):
        cdef long long number
        take_long(source, &number)
        if not self.least <= number <= self.most:
            refuse()
        return PyLong_FromLongLong(number)

    cdef int write(self, Sink* sink, object value) except -1:
        cdef long long number
        if not PyLong_CheckExact(value) and not isinstance(value, IntEnum):
            refuse()
        number = PyLong_AsLongLong(value)
        if not self.least <= number <= self.most:
            refuse()
        return put_long(sink, number)


cdef class Double(Node):
    """A finite number from `least` to `most`, or above `least` where that is exclusive."""

    cdef double least, most
    cdef bint exclusive

    def __init__(self, least, most, exclusive):
        self.least = least
        self.most = most
        self.exclusive = exclusive

    cdef inline int check(self, double number) except -1:
        if not self.least <= number <= self.most or (self.exclusive and number == self.least):
            refuse()
        return 0

    cdef object read(self, Source* source):
        cdef double number = take_double(source)
        self.check(number)
        return PyFloat_FromDouble(number)

    cdef int write(self, Sink* sink, object value) except -1:
        cdef double number
        if not PyFloat_CheckExact(value):
            refuse()
        number = PyFloat_AS_DOUBLE(value)
        self.check(number)
        return put(sink, <const char*>&number, 8)


cdef class Text(Node):
    """A text of `least` to `most` characters."""

    cdef Py_ssize_t least, most

    def __init__(self, least, most):
        self.least = least
        self.most = most

    cdef object read(self, Source* source):
        cdef Py_ssize_t size
        take_size(source, &size)
        text = PyUnicode_DecodeUTF8(<const char*>source.at, size, NULL)
        source.at += size
        if not self.least <= PyUnicode_GET_LENGTH(text) <= self.most:
            refuse()
        return text

    cdef int write(self, Sink* sink, object value) except -1:
        cdef Py_ssize_t size
        cdef const char* data
        if not PyUnicode_Check(value) or not self.least <= PyUnicode_GET_LENGTH(value) <= self.most:
            refuse()
        data = PyUnicode_AsUTF8AndSize(value, &size)
        put_long(sink, size)
        return put(sink, data, size)


cdef class Bytes(Node):
    """Bytes of any length."""

    cdef object read(self, Source* source):
        cdef Py_ssize_t size
        take_size(source, &size)
        source.at += size
        return PyBytes_FromStringAndSize(<const char*>source.at - size, size)

    cdef int write(self, Sink* sink, object value) except -1:
        if not PyBytes_CheckExact(value):
            refuse()
        put_long(sink, PyBytes_GET_SIZE(value))
        return put(sink, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))


cdef class Choice(Node):
    """A member of an enumeration, or False and True, by their position on the wire."""

    cdef tuple members
    cdef dict positions
    cdef object kind
    cdef bint zigzag

    def __init__(self, members, kind, *, zigzag):
        self.members = tuple(members)
        self.positions = {member: position for position, member in enumerate(self.members)}
        self.kind = kind
        self.zigzag = zigzag

    cdef object read(self, Source* source):
        cdef long long position
        if self.zigzag:
            take_long(source, &position)
        else:
            if source.at >= source.end:
                refuse()
            position = source.at[0]
            source.at += 1
        if not 0 <= position < PyTuple_GET_SIZE(self.members):
            refuse()
        return self.members[position]

    cdef int write(self, Sink* sink, object value) except -1:
        if type(value) is not self.kind:
            refuse()
        position = self.positions[value]
        if self.zigzag:
            return put_long(sink, position)
        return put_byte(sink, position)


cdef class Optional(Node):
    """A record, or None."""

    cdef Node some

    def __init__(self, some):
        self.some = some

    cdef object read(self, Source* source):
        cdef unsigned char branch
        if source.at >= source.end:
            refuse()
        branch = source.at[0]
        source.at += 1
        if branch == 0:
            return None
        if branch != 2:
            refuse()
        return self.some.read(source)

    cdef int write(self, Sink* sink, object value) except -1:
        if value is None:
            return put_byte(sink, 0)
        put_byte(sink, 2)
        return self.some.write(sink, value)


cdef class Array(Node):
    """A tuple of at most `most` items."""

    cdef Node item
    cdef Py_ssize_t most

    def __init__(self, item, most):
        self.item = item
        self.most = most

    cdef object read(self, Source* source):
        cdef Py_ssize_t count, index
        take_size(source, &count)
        if count > self.most:
            refuse()
        items = []
        for index in range(count):
            items.append(self.item.read(source))
        if count:
            if source.at >= source.end or source.at[0]:  # another block
                refuse()
            source.at += 1
        return tuple(items)

    cdef int write(self, Sink* sink, object value) except -1:
        cdef Py_ssize_t count
        if not PyTuple_CheckExact(value):
            refuse()
        count = PyTuple_GET_SIZE(value)
        if count > self.most:
            refuse()
        if count:
            put_long(sink, count)
            for each in <tuple>value:
                self.item.write(sink, each)
        return put_byte(sink, 0)


cdef class Mapping(Node):
    """A dict from text to numbers; keys may repeat on the wire, but not here."""

    cdef Node number
    cdef Text key

    def __init__(self, number):
        self.number = number
        self.key = Text(0, 2**62)

    cdef object read(self, Source* source):
        cdef Py_ssize_t count, index
        take_size(source, &count)
        found = {}
        for index in range(count):
            key = self.key.read(source)
            found[key] = self.number.read(source)
        if len(found) != count:
            refuse()
        if count:
            if source.at >= source.end or source.at[0]:
                refuse()
            source.at += 1
        return found

    cdef int write(self, Sink* sink, object value) except -1:
        cdef PyObject* key
        cdef PyObject* number
        cdef Py_ssize_t at = 0
        if not PyDict_CheckExact(value):
            refuse()
        if PyDict_Size(value):
            put_long(sink, PyDict_Size(value))
            while PyDict_Next(value, &at, &key, &number):
                if type(<object>key) is not str:
                    refuse()
                self.key.write(sink, <object>key)
                self.number.write(sink, <object>number)
        return put_byte(sink, 0)


cdef class Record(Node):
    """A Struct.

    Args:
        model: Its type.
        names: Its fields, in the order of the schema.
        nodes: What reads and writes each.
        positions: Where each stands among the arguments of `model`.
        parts: Fields that a stage may carry over as bytes.
    """

    cdef object model
    cdef tuple names, nodes, positions, carried
    cdef Py_ssize_t count

    def __init__(self, model, names, nodes, positions, parts):
        self.model = model
        self.names = tuple(names)
        self.nodes = tuple(nodes)
        self.positions = tuple(positions)
        self.carried = tuple(name in parts for name in self.names)
        self.count = len(self.names)

    cdef object read(self, Source* source):
        return self.take(source, None)

    cdef object take(self, Source* source, dict parts):
        cdef Py_ssize_t index
        cdef Node node
        cdef const unsigned char* start
        arguments = [None] * self.count
        for index in range(self.count):
            node = <Node>self.nodes[index]
            start = source.at
            arguments[<Py_ssize_t>self.positions[index]] = node.read(source)
            if parts is not None and self.carried[index]:
                part = PyBytes_FromStringAndSize(<const char*>start, source.at - start)
                parts[self.names[index]] = part if isinstance(node, Optional) else b"\x02" + part
        return PyObject_Call(self.model, tuple(arguments), NULL)

    cdef int write(self, Sink* sink, object value) except -1:
        cdef Py_ssize_t index
        if type(value) is not self.model:
            refuse()
        for index in range(self.count):
            (<Node>self.nodes[index]).write(sink, getattr(value, self.names[index]))
        return 0

    cdef int put_with(self, Sink* sink, object value, dict parts) except -1:
        """Write `value`, with the bytes in `parts` for fields that are not None."""
        cdef Py_ssize_t index
        cdef Node node
        cdef bytes part
        for index in range(self.count):
            name = self.names[index]
            node = <Node>self.nodes[index]
            field = getattr(value, name)
            part = parts.get(name) if self.carried[index] and field is not None else None
            if part is None or PyBytes_GET_SIZE(part) < 2:
                node.write(sink, field)
            elif isinstance(node, Optional):
                put(sink, PyBytes_AS_STRING(part), PyBytes_GET_SIZE(part))
            else:
                put(sink, PyBytes_AS_STRING(part) + 1, PyBytes_GET_SIZE(part) - 1)
        return 0

    def encode(self, bytes prefix, value, dict parts):
        """Return `prefix` and the Avro body of `value`.

        Args:
            prefix: What stands before.
            value: A Struct of this record's model.
            parts: Bytes of fields that are the same as where `decode` read them; may be empty.

        Raises:
            Refused, TypeError, ValueError, LookupError, AttributeError, OverflowError: Not by me.
        """
        cdef Sink sink
        if type(value) is not self.model:
            refuse()
        sink.data = <char*>PyMem_Malloc(FIRST_ROOM)
        sink.size = 0
        sink.room = FIRST_ROOM
        if sink.data == NULL:
            raise MemoryError
        try:
            put(&sink, PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix))
            if parts:
                self.put_with(&sink, value, parts)
            else:
                self.write(&sink, value)
            return PyBytes_FromStringAndSize(sink.data, sink.size)
        finally:
            PyMem_Free(sink.data)

    def decode(self, bytes value, Py_ssize_t start, dict parts=None):
        """Return the Struct whose Avro body fills `value` from `start` to its end.

        Args:
            value: The bytes.
            start: Where the body begins.
            parts: Is given the bytes of each part, as an optional record.

        Raises:
            Refused, TypeError, ValueError, LookupError, AttributeError, OverflowError: Not by me.
        """
        cdef Source source
        source.at = <const unsigned char*>PyBytes_AS_STRING(value) + start
        source.end = <const unsigned char*>PyBytes_AS_STRING(value) + PyBytes_GET_SIZE(value)
        if source.at > source.end:
            refuse()
        found = self.take(&source, parts)
        if source.at != source.end:
            refuse()
        return found

