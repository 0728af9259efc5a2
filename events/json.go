package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"
)

// encodeJSON writes a message's body. People read it with the nats command, so
// "&&" in a recipe stays what it is.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// decodeJSON reads a body that is one JSON object and nothing else.
func decodeJSON(body []byte, into any) error {
	if first := bytes.TrimLeft(body, " \t\r\n"); len(first) > 0 && first[0] != '{' && json.Valid(body) {
		return fmt.Errorf("the body is %s, expected an object", jsonType(first))
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if err := decoder.Decode(into); err != nil {
		return describeJSON(err)
	}
	return atEnd(decoder)
}

func atEnd(decoder *json.Decoder) error {
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the body goes on after the JSON object")
	}
	return nil
}

// describeJSON says in words for people what is wrong with a JSON text.
func describeJSON(err error) error {
	var (
		wrongType *json.UnmarshalTypeError
		syntax    *json.SyntaxError
		badTime   *time.ParseError
	)
	switch {
	case errors.As(err, &wrongType):
		return &FieldError{Name: wireName(wrongType.Field), Err: describeType(wrongType)}
	case errors.As(err, &badTime):
		return &FieldError{Name: "at", Err: fmt.Errorf("is %s, expected a time as in RFC 3339", excerpt(badTime.Value))}
	case strings.HasPrefix(err.Error(), "Time.UnmarshalJSON: "): // it has no type
		return &FieldError{Name: "at", Err: errors.New("is not a string, expected a time as in RFC 3339")}
	case errors.As(err, &syntax):
		return fmt.Errorf("the body is not JSON at byte %d: %w", syntax.Offset, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON ends too early")
	}
	return fmt.Errorf("the body cannot be read: %w", err)
}

// wireName is a field's name without the embedded structs, which do not exist on the wire.
func wireName(field string) string {
	field = strings.TrimPrefix(field, "Meta.")
	return strings.TrimPrefix(field, "Release.")
}

// jsonType names the type of a JSON value.
func jsonType(value []byte) string {
	switch value[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// describeType tells the JSON types instead of Go's.
func describeType(e *json.UnmarshalTypeError) error {
	// The value is a type's name, or "number -1" if the number does not fit.
	given, number, unfit := strings.Cut(e.Value, " ")
	switch {
	case unfit && e.Type.Kind() == reflect.Uint64:
		return fmt.Errorf("is %.40s, expected a whole number from 0", number)
	case unfit:
		return fmt.Errorf("is %.40s, expected a whole number", number)
	case given == "bool":
		given = "boolean"
	}
	article := "a"
	if given == "array" || given == "object" {
		article = "an"
	}
	return fmt.Errorf("is %s %s, expected %s", article, given, wanted(e.Type))
}

// wanted names the JSON type that a Go type is read from.
func wanted(t reflect.Type) string {
	if t == reflect.TypeFor[Duration]() {
		return "a string such as 90s"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "a boolean"
	case reflect.Slice:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "a number"
}

// excerpt quotes the beginning of what somebody sent.
func excerpt(s string) string {
	const most = 60
	if len(s) <= most {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q…", strings.ToValidUTF8(s[:most], ""))
}
