package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Read takes the objects out of YAML or JSON: several documents, objects of kind
// List, bare lists. name is the source's in errors. Kinds that do not matter here
// are left out. An object of a kind that matters must have a name that the API
// takes, so that names can be part of file names and commands.
func Read(name string, data []byte) ([]Object, error) {
	var all []Object
	for i, doc := range documents(data) {
		values, err := decode(doc)
		if err == nil {
			for _, v := range values {
				if all, err = collect(all, v, Object{}); err != nil {
					break
				}
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s: document %d: %w", name, i+1, err)
		}
	}
	return all, nil
}

// documents takes a stream apart. A line that begins with "---" is always such a
// mark: a block of text is indented.
func documents(data []byte) [][]byte {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	var docs [][]byte
	var doc []byte
	end := func() {
		if len(bytes.TrimSpace(doc)) > 0 {
			docs = append(docs, doc)
		}
		doc = nil
	}
	for line := range bytes.Lines(data) {
		rest, mark := bytes.CutPrefix(line, []byte("---"))
		switch {
		case mark && len(bytes.TrimLeft(rest, " \t\r\n")) == len(rest) && len(rest) > 0:
			doc = append(doc, line...) // a word that begins so
		case mark:
			end()
			doc = append(doc, rest...)
		case bytes.HasPrefix(line, []byte("...")) && len(bytes.TrimSpace(line)) == 3:
			end()
		default:
			doc = append(doc, line...)
		}
	}
	end()
	return docs
}

// decode reads a document, or several JSON values one after the other. Numbers
// keep their digits.
func decode(doc []byte) ([]any, error) {
	if trimmed := bytes.TrimSpace(doc); len(trimmed) == 0 || trimmed[0] != '{' && trimmed[0] != '[' || !json.Valid(trimmed) && !manyJSON(trimmed) {
		asJSON, err := yaml.YAMLToJSONStrict(doc)
		if err != nil {
			return nil, err
		}
		doc = asJSON
	}
	var all []any
	for in := numbers(doc); ; {
		var v any
		err := in.Decode(&v)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
}

func manyJSON(data []byte) bool {
	for in := numbers(data); ; {
		var v json.RawMessage
		if err := in.Decode(&v); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

func numbers(data []byte) *json.Decoder {
	in := json.NewDecoder(bytes.NewReader(data))
	in.UseNumber()
	return in
}

// collect adds the objects of a value. Items of a typed list may leave out what
// the list says, which is in of.
func collect(all []Object, v any, of Object) ([]Object, error) {
	switch v := v.(type) {
	case nil: // nothing but comments
		return all, nil
	case []any:
		for _, item := range v {
			var err error
			if all, err = collect(all, item, of); err != nil {
				return nil, err
			}
		}
		return all, nil
	case map[string]any:
		o := Object(v)
		for _, key := range []string{"kind", "apiVersion"} {
			if o.text(key) == "" && of.text(key) != "" {
				o.set(of.text(key), key)
			}
		}
		kind := o.kind()
		if items, ok := o["items"].([]any); ok && strings.HasSuffix(kind, "List") {
			inner := Object{}
			if kind != "List" {
				inner = Object{"kind": strings.TrimSuffix(kind, "List"), "apiVersion": o.text("apiVersion")}
			}
			return collect(all, items, inner)
		}
		if kind == "" {
			return nil, errors.New("an object has no kind")
		}
		if !slices.Contains(matter(), kind) {
			return all, nil
		}
		return append(all, o), complete(o)
	}
	return nil, fmt.Errorf("%v is no Kubernetes object", v)
}

// matter are the kinds that are read.
func matter() []string {
	return append(workloadKinds(), kindVolume, kindClaim, kindPod, "Node", "CSINode", "CSIDriver")
}

func complete(o Object) error {
	switch {
	case !validName(o.name()):
		return fmt.Errorf("a %s has the name %q, which the API does not take", o.kind(), o.name())
	case o.kind() == kindVolume, o.kind() == "Node", o.kind() == "CSINode", o.kind() == "CSIDriver":
		return nil
	case o.at("metadata", "namespace") == nil:
		o.set("default", "metadata", "namespace")
	}
	if !validName(o.namespace()) {
		return fmt.Errorf("%s %s has the namespace %q, which the API does not take", o.kind(), o.name(), o.namespace())
	}
	return nil
}

// validName tells whether s is a DNS subdomain (RFC 1123), as names of objects are.
func validName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || part[0] == '-' || part[len(part)-1] == '-' {
			return false
		}
		for _, c := range []byte(part) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return true
}
