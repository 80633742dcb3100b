// Go's net/smtp with a message written by hand.
package main

import (
	"fmt"
	"net"
	"net/smtp"
	"os"
	"strings"
)

func main() {
	host, port, sender, recipient := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	body, err := os.ReadFile(os.Args[5])
	if err == nil {
		header := append([]string{"From: " + sender, "To: " + recipient, "Subject: post"}, os.Args[6:]...)
		message := strings.Join(header, "\r\n") + "\r\n\r\n" + string(body) + "\r\n"
		err = smtp.SendMail(net.JoinHostPort(host, port), nil, sender, []string{recipient}, []byte(message))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
