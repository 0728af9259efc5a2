package webhook

import (
	"bytes"
	"encoding/hex"
	"errors"
)

// formPayload is the field payload of a form, decoded. It is written over the
// body, which may be large and is not needed any more.
func formPayload(body []byte) ([]byte, error) {
	for pair := range bytes.SplitSeq(body, []byte("&")) {
		if value, found := bytes.CutPrefix(pair, []byte("payload=")); found {
			return unescape(value)
		}
	}
	return nil, errors.New("the form has no field payload")
}

// unescape decodes the value of a form's field in place, as [url.QueryUnescape] does.
func unescape(value []byte) ([]byte, error) {
	n := 0
	for i := 0; i < len(value); i++ {
		switch c := value[i]; c {
		case '+':
			value[n] = ' '
		case '%':
			if i+2 >= len(value) {
				return nil, errForm
			}
			if _, err := hex.Decode(value[n:n+1], value[i+1:i+3]); err != nil {
				return nil, errForm
			}
			i += 2
		default:
			value[n] = c
		}
		n++
	}
	return value[:n], nil
}

var errForm = errors.New("the field payload of the form is not encoded as a form's fields are")
