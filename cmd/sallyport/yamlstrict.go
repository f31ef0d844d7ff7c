package main

import (
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxYAMLDepth bounds the nesting of a configuration file, aliases included.
const maxYAMLDepth = 16

// ConfigError is one mistake in a configuration file.
type ConfigError struct {
	File         string
	Line, Column int // 1-based; 0 when the mistake has no place in the file
	Path         string
	Msg          string
}

// Error returns "FILE:LINE:COLUMN: PATH: MSG".
func (e *ConfigError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	b.WriteString(e.Msg)
	return b.String()
}

// place is where a value stands in the file.
type place struct{ line, column int }

// strictDecoder fills a struct from YAML, refusing every field that the struct
// does not have, every duplicate and every value of another type, and keeps the
// place of each value so that later checks can name it too.
type strictDecoder struct {
	file   string
	places map[string]place // by path, "targets[0].address"
}

// decode parses src, one YAML document, into the struct that out points to.
func (d *strictDecoder) decode(src []byte, out any) error {
	var doc yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(src)))
	if err := dec.Decode(&doc); err != nil {
		if err.Error() == "EOF" {
			return nil // an empty file asks for the defaults
		}
		return d.syntaxError(err)
	}
	var more yaml.Node
	if err := dec.Decode(&more); err == nil {
		return &ConfigError{File: d.file, Line: more.Line, Column: more.Column, Msg: "a second YAML document; the configuration is one document"}
	}
	if len(doc.Content) != 1 {
		return nil
	}
	return d.value(doc.Content[0], reflect.ValueOf(out).Elem(), "", 0)
}

// syntaxError keeps the line that the YAML parser names.
func (d *strictDecoder) syntaxError(err error) error {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	e := &ConfigError{File: d.file, Msg: "not valid YAML: " + msg}
	if rest, ok := strings.CutPrefix(msg, "line "); ok {
		if n, text, ok := strings.Cut(rest, ": "); ok {
			if line, convErr := strconv.Atoi(n); convErr == nil {
				e.Line, e.Column, e.Msg = line, 1, "not valid YAML: "+text
			}
		}
	}
	return e
}

func (d *strictDecoder) errorAt(n *yaml.Node, path, format string, args ...any) error {
	return &ConfigError{File: d.file, Line: n.Line, Column: n.Column, Path: path, Msg: fmt.Sprintf(format, args...)}
}

// at returns an error about the value at path, or at its nearest parent that
// stands in the file.
func (d *strictDecoder) at(path, format string, args ...any) error {
	e := &ConfigError{File: d.file, Path: path, Msg: fmt.Sprintf(format, args...)}
	for p := path; ; {
		if pl, ok := d.places[p]; ok {
			e.Line, e.Column = pl.line, pl.column
			return e
		}
		i := strings.LastIndexAny(p, ".[")
		if i < 0 {
			return e
		}
		p = p[:i]
	}
}

var durationType = reflect.TypeFor[time.Duration]()

func (d *strictDecoder) value(n *yaml.Node, v reflect.Value, path string, depth int) error {
	if depth > maxYAMLDepth {
		return d.errorAt(n, path, "nested deeper than %d levels", maxYAMLDepth)
	}
	if n.Kind == yaml.AliasNode {
		return d.value(n.Alias, v, path, depth+1)
	}
	d.places[path] = place{n.Line, n.Column}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil // an empty value asks for the default
	}
	if v.Type() == durationType {
		return d.duration(n, v, path)
	}
	if p, ok := v.Addr().Interface().(interface{ setText(string) error }); ok {
		return d.text(n, p.setText, path)
	}
	switch v.Kind() {
	case reflect.Struct:
		return d.structure(n, v, path, depth)
	case reflect.Slice:
		return d.list(n, v, path, depth)
	case reflect.Map:
		return d.mapping(n, v, path, depth)
	default:
		return d.scalar(n, v, path)
	}
}

func (d *strictDecoder) structure(n *yaml.Node, v reflect.Value, path string, depth int) error {
	if n.Kind != yaml.MappingNode {
		return d.errorAt(n, path, "want fields (%s), found %s", allowedFields(v.Type()), describeNode(n))
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		f, ok := fieldByName(v, key.Value)
		if !ok || key.Kind != yaml.ScalarNode {
			return d.errorAt(key, path, "unknown field %q; allowed here: %s", key.Value, allowedFields(v.Type()))
		}
		if seen[key.Value] {
			return d.errorAt(key, path, "field %q is given twice", key.Value)
		}
		seen[key.Value] = true
		if err := d.value(val, f, joinPath(path, key.Value), depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (d *strictDecoder) list(n *yaml.Node, v reflect.Value, path string, depth int) error {
	if n.Kind != yaml.SequenceNode {
		return d.errorAt(n, path, "want a list, found %s", describeNode(n))
	}
	out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		if err := d.value(item, out.Index(i), fmt.Sprintf("%s[%d]", path, i), depth+1); err != nil {
			return err
		}
	}
	v.Set(out)
	return nil
}

func (d *strictDecoder) mapping(n *yaml.Node, v reflect.Value, path string, depth int) error {
	if n.Kind != yaml.MappingNode {
		return d.errorAt(n, path, "want names with values, found %s", describeNode(n))
	}
	out := reflect.MakeMap(v.Type())
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		k := reflect.ValueOf(key.Value)
		if out.MapIndex(k).IsValid() {
			return d.errorAt(key, path, "name %q is given twice", key.Value)
		}
		item := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(n.Content[i+1], item, joinPath(path, key.Value), depth+1); err != nil {
			return err
		}
		out.SetMapIndex(k, item)
	}
	v.Set(out)
	return nil
}

func (d *strictDecoder) scalar(n *yaml.Node, v reflect.Value, path string) error {
	if n.Kind != yaml.ScalarNode {
		return d.errorAt(n, path, "want a single value, found %s", describeNode(n))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Value)
	case reflect.Bool:
		b, err := strconv.ParseBool(n.Value)
		if err != nil {
			return d.errorAt(n, path, "want true or false, found %q", n.Value)
		}
		v.SetBool(b)
	case reflect.Int:
		i, err := strconv.Atoi(n.Value)
		if err != nil {
			return d.errorAt(n, path, "want a whole number, found %q", n.Value)
		}
		v.SetInt(int64(i))
	default:
		return d.errorAt(n, path, "cannot hold a %s", v.Kind())
	}
	return nil
}

// text hands a single value to a type that reads it itself.
func (d *strictDecoder) text(n *yaml.Node, set func(string) error, path string) error {
	if n.Kind != yaml.ScalarNode {
		return d.errorAt(n, path, "want a single value, found %s", describeNode(n))
	}
	if err := set(n.Value); err != nil {
		return d.errorAt(n, path, "%v", err)
	}
	return nil
}

func (d *strictDecoder) duration(n *yaml.Node, v reflect.Value, path string) error {
	dur, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		return d.errorAt(n, path, "want a duration such as 45s, 30m or 1h30m, found %s", describeNode(n))
	}
	v.SetInt(int64(dur))
	return nil
}

func describeNode(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "fields"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	return strconv.Quote(n.Value)
}

func joinPath(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func yamlName(f reflect.StructField) string { return f.Tag.Get("yaml") }

func fieldByName(v reflect.Value, name string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if n := yamlName(v.Type().Field(i)); n != "" && n == name {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

func allowedFields(t reflect.Type) string {
	var names []string
	for i := range t.NumField() {
		if n := yamlName(t.Field(i)); n != "" {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}
