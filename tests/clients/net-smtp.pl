# Net::SMTP with a message written by hand.
use strict;
use warnings;
use Net::SMTP;

my ($host, $port, $sender, $recipient, $body, @headers) = @ARGV;
open my $file, '<:raw', $body or die "$body: $!";
my $text = do { local $/; <$file> };
my $smtp = Net::SMTP->new($host, Port => $port) or die "no connection\n";
my $header = join '', map { "$_\n" } "From: $sender", "To: $recipient", 'Subject: post', @headers;
$smtp->mail($sender) && $smtp->to($recipient) && $smtp->data("$header\n$text\n")
    or die $smtp->code . ' ' . $smtp->message;
$smtp->quit;
