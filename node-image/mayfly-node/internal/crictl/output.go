package crictl

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"
)

// show prints an answer of the runtime as JSON, YAML or through a template.
func (c *call) show(answer proto.Message) error {
	document, err := plain(answer)
	if err != nil {
		return err
	}
	return c.print(document)
}

// showStatus prints one object as "status", and beside it what the runtime
// tells beyond the interface: values that are JSON documents themselves.
func (c *call) showStatus(status proto.Message, info map[string]string) error {
	document, err := plain(status)
	if err != nil {
		return err
	}
	document = map[string]any{"status": document}
	for name, value := range info {
		var parsed any
		if json.Unmarshal([]byte(value), &parsed) != nil {
			parsed = value
		}
		document[name] = parsed
	}
	return c.print(document)
}

func (c *call) print(document map[string]any) error {
	switch c.output {
	case "", "json":
		text, err := json.MarshalIndent(document, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintln(c.out, string(text))
	case "yaml":
		text, err := yaml.Marshal(document)
		if err != nil {
			return err
		}
		c.out.Write(text)
	case "go-template":
		parsed, err := template.New("output").Parse(c.template)
		if err != nil {
			return fmt.Errorf("--template: %w", err)
		}
		if err := parsed.Execute(c.out, document); err != nil {
			return err
		}
		fmt.Fprintln(c.out)
	default:
		return fmt.Errorf("-o %s is none of table, json, yaml, go-template", c.output)
	}
	return nil
}

func plain(answer proto.Message) (map[string]any, error) {
	raw, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(answer)
	if err != nil {
		return nil, err
	}
	document := map[string]any{}
	return document, json.Unmarshal(raw, &document)
}

// list prints ids, a table, or everything, as the flags ask.
func (c *call) list(answer proto.Message, ids []string, header string, rows [][]string) error {
	if c.quiet {
		for _, id := range ids {
			fmt.Fprintln(c.out, id)
		}
		return nil
	}
	if c.output != "" && c.output != "table" {
		return c.show(answer)
	}
	table := tabwriter.NewWriter(c.out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, strings.ReplaceAll(header, "|", "\t"))
	for _, row := range rows {
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	return table.Flush()
}

const shortID = 13

func (c *call) short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	if c.noTrunc || len(id) <= shortID {
		return id
	}
	return id[:shortID]
}

func age(unixNano int64) string {
	since := time.Since(time.Unix(0, unixNano))
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}} {
		if n := int(since / unit.size); n > 0 {
			return fmt.Sprintf("%d %s%s ago", n, unit.name, plural(n))
		}
	}
	n := max(0, int(since/time.Second))
	return fmt.Sprintf("%d second%s ago", n, plural(n))
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

func bytesSize(size uint64) string {
	value, units := float64(size), []string{"B", "kB", "MB", "GB", "TB"}
	for value >= 1000 && len(units) > 1 {
		value, units = value/1000, units[1:]
	}
	return fmt.Sprintf("%.3g%s", value, units[0])
}
