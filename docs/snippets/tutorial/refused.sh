curl -i "http://127.0.0.1:5000/stream?channel=office"
