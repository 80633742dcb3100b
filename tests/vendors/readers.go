// Reads requests as a receiver of smtp2http does, with the types of its source.
// Requests come as JSON on standard input; what was found, or why nothing was, goes
// out the same way.
package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

type Address struct {
	Name    string `json:"name,omitempty"`
	Address string `json:"address,omitempty"`
}

type Message struct {
	References []string `json:"references,omitempty"`
	SPFResult  string   `json:"spf,omitempty"`
	ID         string   `json:"id,omitempty"`
	Date       string   `json:"date,omitempty"`
	Subject    string   `json:"subject,omitempty"`
	ResentDate string   `json:"resent_date,omitempty"`
	ResentID   string   `json:"resent_id,omitempty"`
	Body       struct {
		Text string `json:"text,omitempty"`
		HTML string `json:"html,omitempty"`
	} `json:"body"`
	Addresses struct {
		From       *Address   `json:"from"`
		To         *Address   `json:"to"`
		ReplyTo    []*Address `json:"reply_to,omitempty"`
		Cc         []*Address `json:"cc,omitempty"`
		Bcc        []*Address `json:"bcc,omitempty"`
		InReplyTo  []string   `json:"in_reply_to,omitempty"`
		ResentFrom *Address   `json:"resent_from,omitempty"`
		ResentTo   []*Address `json:"resent_to,omitempty"`
		ResentCc   []*Address `json:"resent_cc,omitempty"`
		ResentBcc  []*Address `json:"resent_bcc,omitempty"`
	} `json:"addresses"`
	Attachments []*struct {
		Filename    string `json:"filename"`
		ContentType string `json:"content_type"`
		Data        []byte `json:"data"`
	} `json:"attachments,omitempty"`
	EmbeddedFiles []*struct {
		CID         string `json:"cid"`
		ContentType string `json:"content_type"`
		Data        []byte `json:"data"`
	} `json:"embedded_files,omitempty"`
}

func read(body []byte) (map[string]any, error) {
	var mail Message
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&mail); err != nil {
		return nil, err
	}
	for _, date := range []string{mail.Date, mail.ResentDate} {
		zone := "2006-01-02 15:04:05 -0700 MST"
		if at, err := time.Parse(zone, date); err != nil {
			// The name of a zone that has none is its offset.
			if at, err = time.Parse("2006-01-02 15:04:05 -0700 -0700", date); err != nil || at.String() != date {
				return nil, fmt.Errorf("%q is no time.String()", date)
			}
		} else if at.UTC().String() != date {
			return nil, fmt.Errorf("%q is no time.String()", date)
		}
	}
	files := [][]string{}
	for _, file := range mail.Attachments {
		files = append(files, []string{file.Filename, file.ContentType, "", hex.EncodeToString(file.Data)})
	}
	for _, file := range mail.EmbeddedFiles {
		files = append(files, []string{"", file.ContentType, file.CID, hex.EncodeToString(file.Data)})
	}
	cc := []string{}
	for _, one := range mail.Addresses.Cc {
		cc = append(cc, one.Address)
	}
	return map[string]any{
		"subject": mail.Subject, "cc": cc, "message_id": mail.ID,
		"text": strings.TrimSpace(strings.ReplaceAll(mail.Body.Text, "\r\n", "\n")),
		"html": strings.TrimSpace(mail.Body.HTML), "attachments": files,
		"sender": mail.Addresses.From.Address, "recipient": mail.Addresses.To.Address,
	}, nil
}

func main() {
	var requests []struct{ Body []byte }
	if err := json.NewDecoder(os.Stdin).Decode(&requests); err != nil {
		panic(err)
	}
	answers := []map[string]any{}
	for _, request := range requests {
		answer, err := read(request.Body)
		if err != nil {
			answer = map[string]any{"error": err.Error()}
		}
		answers = append(answers, answer)
	}
	_ = json.NewEncoder(os.Stdout).Encode(answers)
}
