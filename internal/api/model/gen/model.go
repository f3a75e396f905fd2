package main

import (
	"bytes"
	"encoding/json"
)

// model is what is read of a botocore service model.
type model struct {
	Metadata   metadata              `json:"metadata"`
	Operations map[string]*operation `json:"operations"`
	Shapes     map[string]*shape     `json:"shapes"`
}

type metadata struct {
	APIVersion     string `json:"apiVersion"`
	EndpointPrefix string `json:"endpointPrefix"`
	JSONVersion    string `json:"jsonVersion"`
	Protocol       string `json:"protocol"`
	SigningName    string `json:"signingName"`
	TargetPrefix   string `json:"targetPrefix"`
	XMLNamespace   string `json:"xmlNamespace"`
}

type operation struct {
	Name string `json:"name"`
	HTTP struct {
		Method string `json:"method"`
		URI    string `json:"requestUri"`
		Code   int    `json:"responseCode"`
	} `json:"http"`
	Input      *ref   `json:"input"`
	Output     *ref   `json:"output"`
	AuthType   string `json:"authtype"`
	Deprecated bool   `json:"deprecated"`
}

type ref struct {
	Shape            string       `json:"shape"`
	Location         string       `json:"location"`
	LocationName     string       `json:"locationName"`
	ResultWrapper    string       `json:"resultWrapper"`
	Flattened        bool         `json:"flattened"`
	XMLAttribute     bool         `json:"xmlAttribute"`
	XMLNamespace     xmlNamespace `json:"xmlNamespace"`
	TimestampFormat  string       `json:"timestampFormat"`
	Streaming        bool         `json:"streaming"`
	JSONValue        bool         `json:"jsonvalue"`
	IdempotencyToken bool         `json:"idempotencyToken"`
}

type shape struct {
	Type            string       `json:"type"`
	Members         members      `json:"members"`
	Required        []string     `json:"required"`
	Payload         string       `json:"payload"`
	Member          ref          `json:"member"`
	Key             ref          `json:"key"`
	Value           ref          `json:"value"`
	Flattened       bool         `json:"flattened"`
	Min             *float64     `json:"min"`
	Max             *float64     `json:"max"`
	Pattern         string       `json:"pattern"`
	Enum            []string     `json:"enum"`
	TimestampFormat string       `json:"timestampFormat"`
	LocationName    string       `json:"locationName"`
	XMLNamespace    xmlNamespace `json:"xmlNamespace"`
	Streaming       bool         `json:"streaming"`
	Sensitive       bool         `json:"sensitive"`
	Exception       bool         `json:"exception"`
	Fault           bool         `json:"fault"`
	EventStream     bool         `json:"eventstream"`
	Error           struct {
		Code   string `json:"code"`
		Status int    `json:"httpStatusCode"`
	} `json:"error"`
}

type xmlNamespace struct {
	URI    string `json:"uri"`
	Prefix string `json:"prefix"`
}

// members keeps the model's order.
type members struct {
	names []string
	byRef map[string]*ref
}

// UnmarshalJSON reads an object in its order.
func (m *members) UnmarshalJSON(raw []byte) error {
	if err := json.Unmarshal(raw, &m.byRef); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		m.names = append(m.names, name.(string))
		var skip json.RawMessage
		if err := d.Decode(&skip); err != nil {
			return err
		}
	}
	return nil
}
