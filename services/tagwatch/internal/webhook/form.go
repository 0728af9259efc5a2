package webhook

import (
	"bytes"
	"errors"
	"net/url"
)

// formPayload is the field payload of a form, decoded.
func formPayload(body []byte) ([]byte, error) {
	for pair := range bytes.SplitSeq(body, []byte("&")) {
		value, found := bytes.CutPrefix(pair, []byte("payload="))
		if !found {
			continue
		}
		payload, err := url.QueryUnescape(string(value))
		if err != nil { // which would repeat a part of it
			return nil, errors.New("the field payload of the form is not encoded as a form's fields are")
		}
		return []byte(payload), nil
	}
	return nil, errors.New("the form has no field payload")
}
