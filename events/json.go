package events

import (
	"bytes"
	"encoding"
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
		given, _, _ := strings.Cut(wrongType.Value, " ") // "number 1e9" where the number does not fit
		return &FieldError{Name: wireName(wrongType.Field), Err: fmt.Errorf("is %s, expected %s", withArticle(given), wanted(wrongType.Type, given))}
	case errors.As(err, &badTime):
		return &FieldError{Name: "at", Err: fmt.Errorf("is %s, expected a time as in RFC 3339", badTime.Value)}
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

// wanted names the JSON type that a Go type is read from.
func wanted(t reflect.Type, given string) string {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) && t.Kind() != reflect.Slice {
		return "a string"
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
	case reflect.Uint64:
		if given == "number" {
			return "a whole number from 0"
		}
	case reflect.Int, reflect.Int64:
		if given == "number" {
			return "a whole number"
		}
	}
	return "a number"
}

func withArticle(jsonType string) string {
	switch jsonType {
	case "object", "array":
		return "an " + jsonType
	case "bool":
		return "a boolean"
	}
	return "a " + jsonType
}

// excerpt quotes the beginning of what somebody sent.
func excerpt(s string) string {
	const most = 60
	if len(s) <= most {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q…", strings.ToValidUTF8(s[:most], ""))
}
